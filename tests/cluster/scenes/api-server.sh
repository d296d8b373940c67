# shellcheck shell=bash
# The API server is down for a minute. During that time a node's agent is killed, and restarts from its
# state.
# shellcheck disable=SC2154

# The controllers stop with it, as controllers with leader election do, and start again with it. If they
# continued, they would miss the nodes' heartbeats for longer than they allow, and mark nodes unready before
# the nodes could send one.
control_plane() {
  local program
  for program in "${@:2}"; do
    cluster in "$here/control-plane" "$1" "$POINTSMAN_CLUSTER/control-plane" "$program"
  done
}

# not_called_lately POD: it got no call for a second, in which it would normally get some
not_called_lately() { [ "$(calls "$(($(now) - 1000))" "$(now)" | grep -c " $1 ")" = 0 ]; }

kill_agent() { cluster on "$1" kill -9 "$(cluster on "$1" pgrep -f '^/pointsman agent')"; }
answers() { agent "$1" services/cart.shop:http | jq -e .endpoints; }

agent_killed() {
  local from elsewhere
  from=$(now)
  kill_agent 3
  sleep 0.5
  check "API server: away, and an agent that was killed serves again" 15 answers 3
  # A caller with a connection tries again after a second.
  sleep 2
  elsewhere=$(calls "$from" "$(now)" | awk '$1 != "c" && $3 == "failed"' | head -n 3)
  if [ -z "$elsewhere" ]; then
    echo "ok API server: away, an agent killed: on its node failed $(failures "$from" "$(now)")"
  else
    wrong "API server: away, an agent killed: on other nodes failed $elsewhere"
  fi
}

api_server() {
  local from back name own said
  control_plane stop kube-controller-manager kube-apiserver
  from=$(now)
  sleep 28
  called "API server: away" "$from" "$(now)"
  agent_killed
  from=$(now)
  sleep 28
  called "API server: away for a minute" "$from" "$(now)"
  own=$(in_own_zone "$from" "$(now)" cart.shop)
  said="API server: away, and $own% of cart's calls stay in their caller's zone"
  if [ "$own" -ge 90 ]; then echo "ok $said"; else wrong "$said"; fi
  control_plane start kube-apiserver kube-controller-manager
  back=$(now)
  # The pod serves until its kubelet learns of the deletion. The kubelet waits before it asks again; the
  # agents do not.
  read -r name _ < <(pod cart 2)
  kubectl delete pod "$name" --wait=false >/dev/null
  check "API server: back, and a pod that is deleted now is no longer called" 20 not_called_lately "$name"
  echo "ok API server: its last call came $(last_call "$back" "$name") ms after the server was back"
  called "API server: as it came back" "$from" "$(now)"
}
