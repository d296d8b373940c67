# shellcheck shell=bash
# kubectl delete -k, and what is left according to docs/install.md.
# shellcheck disable=SC2154

# lacks PATTERN COMMAND...: COMMAND succeeds, and its output lacks the pattern
lacks() {
  local said
  said=$("${@:2}") && ! grep -E "$1" <<<"$said"
}

# All objects with the name or in the namespace, of any kind.
objects() {
  local kinds
  kinds=$(cluster in kubectl api-resources --verbs=list -o name | paste -sd ,)
  cluster in kubectl get "$kinds" -A --ignore-not-found -o json |
    jq -r '.items[] | "\(.kind) \(.metadata.namespace)/\(.metadata.name)" | select(test("pointsman"))'
}
no_driver() { cluster in kubectl get csinodes -o json | jq -e '[.items[].spec.drivers[]?] == []'; }
no_taint() { cluster in kubectl get nodes -o json | jq -e '[.items[].spec.taints[]?] == []'; }

# The runtime decides how long it keeps the image's files.
folders() {
  cluster on "$1" find /run /var/lib -path /var/lib/containerd -prune -o -name '*pointsman*' -prune -print |
    sort | paste -sd ' '
}
has_folders() { [ "$(folders "$1" | tee /dev/stderr)" = "$2" ]; }
# The page's commands.
remove_folders() { cluster on "$1" bash -c "$(grep '^rm -rf ' "$here/../../docs/install.md")"; }

uninstall() {
  local node
  kubectl delete daemonset caller-go >/dev/null
  kubectl -n trusting delete daemonset caller-python >/dev/null
  check "uninstall: pods with the socket's folder are gone first" 90 lacks caller cluster in kubectl get pods -A -o name
  cluster in kubectl delete -k "$here/daemonset" >/dev/null
  check "uninstall: no object is left" 20 lacks pointsman objects
  check "uninstall: no kubelet knows the plugin" 5 no_driver
  check "uninstall: no node has a taint" 5 no_taint
  for node in 1 2 3; do
    check "uninstall: no process on node $node" 5 lacks '^pointsman$' cluster on "$node" ps -eo comm=
    check "uninstall: no mount on node $node" 5 \
      lacks '/(run|lib)/pointsman|kubernetes.io~csi|csi.pointsman' cluster on "$node" cut -d ' ' -f 5 /proc/self/mountinfo
    check "uninstall: the page's folders on node $node" 1 has_folders "$node" \
      "/run/pointsman /run/pointsman-pods /var/lib/kubelet/plugins/csi.pointsman.dev /var/lib/pointsman"
    remove_folders "$node"
    check "uninstall: removed as the page says on node $node" 1 has_folders "$node" ""
  done
}
