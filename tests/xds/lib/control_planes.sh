# shellcheck shell=bash
# The control planes: two of ours, and two of go-control-plane.
# The files of this folder and who reads them share their variables.
# shellcheck disable=SC2034,SC2154

# Where each control plane listens. The port is the one that it was given, so that it gets the same again. The last
# two are go-control-plane.
declare -A address=([tcp]=127.0.0.1:0 [unix]=unix://$folder/control-plane.sock
  [go-tcp]=127.0.0.1:0 [go-unix]=unix://$folder/go-control-plane.sock)
# The agents that run.
agents=()
# Where the pages are of those that run.
declare -A pages=()

# Where ours have the services from.
source=file:$folder/services.yaml

# control_plane TRANSPORT: starts it, and waits until it listens.
control_plane() {
  local log=$folder/control-plane-$1.log listen
  # Not by the program, which does it in parallel: what the last one said must not count.
  : >"$log"
  "$pointsman" control-plane --source "$source" --listen "${address[$1]}" \
    --admin 127.0.0.1:0 2>>"$log" &
  children[control-plane-$1]=$!
  for _ in $(seq 200); do
    grep -qs listening "$log" && break
    sleep 0.05
  done
  listen=$(sed -n 's/.*listening.* listen="\{0,1\}\([^ "]*\).*/\1/p' "$log" | tail -n 1)
  if [ -z "$listen" ]; then
    echo "WRONG control plane: it does not listen on ${address[$1]}"
    sed 's/^/  /' "$log"
    exit 1
  fi
  if [ "$1" = tcp ]; then address[tcp]=$listen; fi
  pages[$1]=$(sed -n 's/.*listening.* admin=\([^ ]*\).*/\1/p' "$log" | tail -n 1)
}

# another TRANSPORT: starts go-control-plane, and waits until it listens.
another() {
  local log=$folder/control-plane-go-$1.log listen
  : >"$log"
  "$another" "${address[go-$1]}" "$folder/clusters.json" >>"$log" 2>&1 &
  children[control-plane-go-$1]=$!
  for _ in $(seq 200); do
    listen=$(sed -n 's/^listening //p' "$log")
    [ -n "$listen" ] && break
    sleep 0.05
  done
  if [ -z "$listen" ]; then
    echo "WRONG go-control-plane: it does not listen on ${address[go-$1]}"
    sed 's/^/  /' "$log"
    exit 1
  fi
  address[go-$1]=$listen
}

control_planes() {
  control_plane tcp
  control_plane unix
  another tcp
  another unix
}
no_control_planes() {
  local each
  pages=()
  for each in tcp unix go-tcp go-unix; do stop KILL "control-plane-$each"; done
}
