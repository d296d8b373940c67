# shellcheck shell=bash
# A node dies, as if its plug were pulled. Until the control plane notices, which takes it most of a
# minute, its pods are ready by all that it says: the agents of the others have to find out.

# aside_elsewhere ADDRESS: the other agents send it no requests, or only a probe now and then
aside_elsewhere() {
  local node port
  for node in 1 2; do
    for port in http grpc; do
      [[ "$(state "$node" "stock.shop:$port" "$1")" =~ ^(ejected|probing)$ ]] || return
    done
  done
}

# zone_is_called FROM ZONE: callers in the other zones call it, too
zone_is_called() {
  calls "$1" "$(now)" | awk -v zone="$2" '
    $3 == "ok" && $4 ~ /^stock/ && $6 == zone && $1 != zone { n++ }
    END { exit n < 20 }'
}

node_dies() {
  local address from aside to said failed_of all
  read -r _ address < <(pod stock 3)
  from=$(now)
  # The node's callers and their output are gone with it.
  cluster rm 3
  check "node: dead, its pod is put aside by the others' agents" 15 aside_elsewhere "$address"
  aside=$(now)
  sleep 8
  to=$(now)
  picked "node" "$from" "$to"
  called "node: cart, whose callers keep to their zones" "$from" "$to" cart.shop
  echo "ok node: stock, until it was put aside ($((aside - from)) ms): failed $(failures "$from" "$aside" stock.shop)"
  # Now and then a probe checks whether it is back. Before, it got a third of all requests.
  said=$(failures "$aside" "$to" stock.shop)
  read -r failed_of _ all _ <<<"$said"
  said="node: stock, from then on: failed $said"
  if [ "$((failed_of * 20))" -le "$all" ]; then echo "ok $said"; else wrong "$said"; fi
}

node_returns() {
  local from
  cluster add 3
  from=$(now)
  check "node: back, with its pods" 60 serves stock
  check "node: back, and called" 60 zone_is_called "$from" c
  echo "ok node: that took $(($(now) - from)) ms"
}
