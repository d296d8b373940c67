# shellcheck shell=bash
# A typing error in a Service's selector: the Service has no pod left, though all pods serve.

select_pods() { kubectl patch service cart -p "{\"spec\": {\"selector\": {\"app\": \"$1\"}}}" >/dev/null; }
# The endpoints that must stay.
endpoints() {
  kubectl get endpointslices -l kubernetes.io/service-name=cart -o json |
    jq '[.items[].endpoints[]? | select(.conditions.terminating | not)] | length'
}
has_none() { [ "$(endpoints)" = 0 ]; }
has_at_least() { [ "$(endpoints)" -ge "$1" ]; }
# brakes NODE: the number of notes of its agent that name the brake
brakes() { agent "$1" services/cart.shop:http/explain | jq '[.notes[]? | select(startswith("brake"))] | length'; }
brakes_are() { [ "$(brakes "$1")" = "$2" ]; }

selector() {
  local from had
  had=$(endpoints)
  from=$(now)
  select_pods card
  check "selector: broken, the Service has no endpoint" 5 has_none
  check "selector: the brake says so" 5 brakes_are 1 1
  sleep 4
  called "selector: calls to the pods that were there" "$from" "$(now)" cart.shop
  from=$(now)
  select_pods cart
  check "selector: mended" 5 has_at_least "$had"
  check "selector: the brake is off" 5 brakes_are 1 0
  sleep 2
  called "selector: calls as it was mended" "$from" "$(now)" cart.shop
}
