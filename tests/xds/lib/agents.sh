# shellcheck shell=bash
# The agents.
# The files of this folder and who reads them share their variables, and names of peers are keys.
# shellcheck disable=SC2004,SC2034,SC2154

# Further options of agents.
agent_options=()
# start_agent: one for each of the peers. It is ready when it knows the names of the services.
start_agent() {
  local log=$folder/$peer.log extra=
  if [[ $peer = agent-go-* ]]; then extra=,clusters; fi
  "$pointsman" agent --source "xds:${address[${over[$peer]}]}$extra" --socket "$folder/$peer.sock" \
    --admin 127.0.0.1:0 "${agent_options[@]}" 2>"$log" &
  children[$peer]=$!
  agents+=("$peer")
  for _ in $(seq 200); do
    grep -qs 'every source has answered' "$log" && return
    sleep 0.05
  done
  echo "WRONG $peer: it does not get ready"
  sed 's/^/  /' "$log"
  exit 1
}
# asked AGENT PATH: what its socket answers.
asked() { curl -s --max-time 5 --unix-socket "$folder/$1.sock" "http://agent$2"; }
known() { asked "$1" /v1/services | jq '.services | length'; }

# What is in the log of the peer's control plane, or in the peer's.
server_logged() { grep -- "$1" "$folder/control-plane-${over[$peer]}.log"; }
agent_logged() { grep -- "$1" "$folder/$peer.log"; }
# explained SERVICE PATTERN: a line of what the agent explains.
explained() { "$pointsman" explain "$1" --socket "$folder/$peer.sock" | grep -- "$2"; }
# told SERVICE FIELD VALUE: each of its endpoints has it.
told() {
  local saw
  saw=$(asked "$peer" "/v1/services/$1" | jq -r "[.endpoints[] | $2] | unique | join(\",\")")
  echo "$saw"
  [ "$saw" = "$3" ]
}
# health_of SERVICE HEALTH,...: of the endpoints that are not ready, as the agent lists them.
health_of() {
  local saw
  saw=$(asked "$peer" "/v1/services/$1" |
    jq -r '[.endpoints[].health | select(. != "ready")] | sort | join(",")')
  echo "$saw"
  [ "$saw" = "$2" ]
}
# problems NUMBER: what the agent says is wrong with its sources.
problems() {
  local page saw
  page=$(sed -n 's/.*listening.* admin=\([^ ]*\).*/\1/p' "$folder/$peer.log")
  saw=$(curl -s --max-time 5 "http://$page/metrics" | sed -n 's/^pointsman_source_problems //p')
  echo "$saw"
  [ "$saw" = "$1" ]
}
