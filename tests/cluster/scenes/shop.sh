# shellcheck shell=bash
# Two applications: `cart`, two pods in each zone, which drain when they are told to end; and `stock`, one
# in each zone and called from all of them, whose pods exit at once.
# shellcheck disable=SC2154

# application NAME PODS DRAIN: makes the application of smoke.yaml under another name, without zone
# hints
application() {
  sed "s/cart/$1/g; s/replicas: 4/replicas: $2/; s/--drain=3s/--drain=$3/; /trafficDistribution/d" "$here/smoke.yaml"
}

open_shop() {
  application cart 6 3s | kubectl apply -f - >/dev/null
  application stock 3 0s | kubectl apply -f - >/dev/null
  kubectl annotate service stock pointsman.dev/zone=off >/dev/null
}

serves_everywhere() { cluster in kubectl -n "$2" rollout status "daemonset/$1" --timeout=1s; }
serves() { kubectl rollout status "deployment/$1" --timeout=1s; }

# pod APPLICATION NODE: the name and the address of one of its pods on that node
pod() {
  kubectl get pods -l "app=$1" --field-selector "spec.nodeName=node$2,status.phase=Running" \
    -o 'jsonpath={.items[0].metadata.name} {.items[0].status.podIP}{"\n"}'
}

# served ADDRESS: how many requests that pod has answered, by its own count
served() { cluster on 1 curl -s --max-time 5 "http://$1:8080/admin/served" | jq -r .served; }
