# shellcheck shell=bash
# The peers, and what calls.
# The files of this folder and who reads them share their variables, and names of peers are keys.
# shellcheck disable=SC2004,SC2034,SC2154

# each COMMAND...: for each of the peers that are tried now. First these are programs with gRPC, and agents. Their
# names have the language, and over what the program reaches its control plane.
peers=(python-tcp python-unix go-tcp node-unix java-unix agent-tcp agent-unix agent-go-tcp agent-go-unix)
each() { for peer in "${peers[@]}"; do "$@"; done; }
# of_clusters COMMAND...: with the agents of go-control-plane only.
of_clusters() {
  local peers=(agent-go-tcp agent-go-unix)
  "$@"
}
# each_agent COMMAND...: with the agents only.
each_agent() {
  local peers=("${agents[@]}")
  each "$@"
}
# each_of_ours COMMAND...: with the agents of our control plane only.
each_of_ours() {
  local peers=(agent-tcp agent-unix)
  each "$@"
}
declare -A over=([ads-sotw]=tcp [ads-delta]=unix [eds-sotw]=unix [eds-delta]=tcp
  [cds-sotw]=unix [cds-delta]=tcp)
for peer in "${peers[@]}"; do over[$peer]=${peer#*-}; done

# begin NAME TARGET... [OPTION...]: calls from now on, for two minutes at most. The lines come to the file
# NAME-PEER. Calls go through an Envoy whatever TARGET is, and by HTTP/1.1 if a path follows.
longest=120
# Where each Envoy listens.
declare -A edge
begin() {
  local target=$2 options=("${@:3}") program=("$python" tests/xds/calls.py) archive bootstrap
  if [ -n "${edge[$peer]:-}" ]; then target=${edge[$peer]}; fi
  case $peer,${options[0]:-} in
    go-*) program=("$go/calls") ;;
    node-*) program=(node "$node/calls.js") ;;
    cds-*,/*) program=("$python" tests/xds/posts.py "$target") target= ;;
    java-*)
      archive=-XX:SharedArchiveFile=$classes
      if [ ! -e "$classes" ]; then archive=-XX:ArchiveClassesAtExit=$folder/$1.jsa; fi
      # What Java says of an archive would stand between the lines.
      program=(java "$archive" -Xlog:disable -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$java/*" Calls)
      ;;
    agent-*)
      program=("$python" tests/xds/posts.py "$folder/$peer.sock")
      target=${target#xds:///}
      options=("${options[@]#xds:///}")
      ;;
  esac
  # All peers call at the same time: with a shorter pause two cores would do nothing else.
  if [[ " ${options[*]} " != *' --pause '* ]]; then options+=(--pause 20); fi
  bootstrap=$("$pointsman" xds bootstrap grpc "${address[${over[$peer]}]}" --node-id peer)
  GRPC_XDS_BOOTSTRAP_CONFIG=$bootstrap \
    timeout "$longest" "${program[@]}" ${target:+"$target"} "${options[@]}" >"$folder/$1-$peer" 2>"$folder/$1-$peer.log" &
  children[$1-$peer]=$!
}
finish() { stop TERM "$1-$peer"; }
# ended NAME: waits until its calls have been made.
ended() {
  wait "${children[$1-$peer]}" || true
  unset "children[$1-$peer]"
}
# apart NAME NUMBER: so many lines each come to the files NAME0-PEER, NAME1-PEER and so on.
apart() { split -d -a 1 -l "$2" --additional-suffix="-$peer" "$folder/$1-$peer" "$folder/$1"; }
# await NAME NUMBER SECONDS: until there are so many lines.
await() {
  local until=$(($(now) + 1000 * $3))
  while [ "$(wc -l <"$folder/$1-$peer")" -lt "$2" ] && [ "$(now)" -lt "$until" ]; do sleep 0.05; done
}
