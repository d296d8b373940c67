# shellcheck shell=bash
# The API server is away for a minute.
# shellcheck disable=SC2154

# The controllers go with it, as those do that elect a leader: they end where they can't, and start anew
# with it. Ones that went on would find that no node had been heard of for longer than they allow, and
# call nodes unready before these could say a word.
control_plane() {
  local program
  for program in "${@:2}"; do
    cluster in "$here/control-plane" "$1" "$POINTSMAN_CLUSTER/control-plane" "$program"
  done
}

# not_called_lately POD: for a second in which it would have been
not_called_lately() { [ "$(calls "$(($(now) - 1000))" "$(now)" | grep -c " $1 ")" = 0 ]; }

api_server() {
  local from back name
  control_plane stop kube-controller-manager kube-apiserver
  from=$(now)
  sleep 60
  called "API server: away for a minute" "$from" "$(now)"
  control_plane start kube-apiserver kube-controller-manager
  back=$(now)
  # It serves until its kubelet hears, which takes its time to ask again; the agents don't.
  read -r name _ < <(pod cart 2)
  kubectl delete pod "$name" --wait=false >/dev/null
  check "API server: back, and a pod that is deleted now is no longer called" 20 not_called_lately "$name"
  echo "ok API server: its last call came $(last_call "$back" "$name") ms after the server was back"
  called "API server: as it came back" "$from" "$(now)"
}
