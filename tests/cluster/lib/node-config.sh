# shellcheck shell=bash
# The configuration of what runs on a node. $node is the node's folder, $number its number: 10.199.0.x
# is its address, 10.244.number.x are those of its pods.
# shellcheck disable=SC2154

write_containerd_config() {
  local plugins=/usr/lib/cni
  if [ -x /opt/cni/bin/ptp ]; then plugins=/opt/cni/bin; fi
  cat >"$node/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/pause:1"
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    options = { SystemdCgroup = false }
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "$node/network"
TOML
  # Each pod has a link of its own to the node. So packets between pods of one node pass the node's
  # rules, as kube-proxy requires. A bridge would need extra settings for that.
  cat >"$node/network/pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
  "ranges": [[{"subnet": "10.244.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
}

# write_kubelet_config CGROUP [TAINT]
write_kubelet_config() {
  local taints=
  if [ -n "${2:-}" ]; then taints="registerWithTaints: [{key: ${2%:*}, effect: ${2#*:}}]"; fi
  cat >"$node/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 10.199.0.$((10 + number))
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $identities/authority.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$1
failCgroupV1: false
failSwapOn: false
volumePluginDir: /var/lib/kubelet/volume-plugins
resolvConf: ""
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
nodeStatusUpdateFrequency: 5s
# The tests do not depend on how full the machine's disk is.
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi}
$taints
YAML
}

write_kube_proxy_config() {
  cat >"$node/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $identities/kube-proxy.kubeconfig}
mode: iptables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node$number
# 0 leaves the setting as it is. Connection tracking is shared by the whole machine.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
}
