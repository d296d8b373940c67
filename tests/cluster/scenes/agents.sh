# shellcheck shell=bash
# The DaemonSet of the agents, and the agent of a node as its callers see it.

# agent NODE PATH [OPTION...]: requests that path from the agent's API
agent() {
  cluster on "$1" curl -s --max-time 5 --unix-socket /run/pointsman/agent.sock "http://localhost/v1/$2" "${@:3}"
}

# state NODE SERVICE ADDRESS: the endpoint's state in that agent's plan
state() {
  agent "$1" "services/$2" | jq -r --arg address "$3" '.endpoints[] | select(.address == $address) | .state'
}

is_state() { [ "$(state "$1" "$2" "$3")" = "$4" ]; }

# put_aside NODE SERVICE ADDRESS: ejects it by reports of failures, after a pick of each endpoint
# without a request
put_aside() {
  local reports
  # shellcheck disable=SC2016
  reports=$(agent "$1" pick -d "{\"service\": \"$2\", \"count\": 6}" | jq --arg address "$3" '{reports:
    [.picks[] | {lease, outcome: (if .address == $address then "FAILURE" else "SUCCESS" end)}]}')
  agent "$1" report -d "$reports"
  is_state "$1" "$2" "$3" ejected
}

# A separate Service for the same pods, which nobody calls. So the agent's only knowledge is what is
# reported here.
open_judged() {
  kubectl create service clusterip judged --tcp=80:http >/dev/null
  kubectl set selector service judged app=cart >/dev/null
  kubectl annotate service judged pointsman.dev/zone=off pointsman.dev/outlier.base_ejection=2m >/dev/null
}

rolled_agents() { cluster in kubectl -n pointsman rollout status daemonset/pointsman-agent --timeout=1s; }

restarts_of_agents() {
  cluster in kubectl -n pointsman get pods -l app.kubernetes.io/component=agent \
    -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}'
}

agents_rolled() {
  local address from took restarts
  open_judged
  read -r _ address < <(pod cart 1)
  check "agents: one puts an endpoint aside that fails" 30 put_aside 1 judged.shop "$address"
  from=$(now)
  cluster in kubectl -n pointsman rollout restart daemonset/pointsman-agent >/dev/null
  check "agents: rolled" 30 rolled_agents
  took=$(($(now) - from))
  if [ "$took" -le 30000 ]; then echo "ok agents: in $took ms"; else wrong "agents: in $took ms"; fi
  check "agents: what was put aside still is" 0 is_state 1 judged.shop "$address" ejected
  # The old agents linger for callers that are connected to them.
  sleep 2
  picked "agents" "$from" "$(now)"
  called "agents: calls while they were rolled" "$from" "$(now)"
  # An old agent that the kubelet starts again would take the socket back.
  restarts=$(restarts_of_agents)
  if [ "$restarts" = "0 0 0" ]; then echo "ok agents: none was started twice"; else wrong "agents: restarts $restarts"; fi
}
