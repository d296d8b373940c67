# shellcheck shell=bash
# A pod reports that it is not ready, but would still answer.

unready() {
  local name address from before after last said
  read -r name address < <(pod cart 1)
  from=$(now)
  cluster on 1 curl -s -X POST "http://$address:8080/admin/unready"
  sleep 3
  before=$(served "$address")
  sleep 2
  after=$(served "$address")
  last=$(last_call "$from" "$name")
  said="unready: the last request $last ms after the pod said so; $before by then, $after two seconds later"
  # The limit includes the probe's period of one second.
  if [ "$before" -gt 0 ] && [ "$after" = "$before" ] && [ "$last" -lt 3000 ]; then echo "ok $said"; else wrong "$said"; fi
  cluster on 1 curl -s -X POST "http://$address:8080/admin/ready"
  called "unready: calls go on" "$from" "$(now)"
  check "unready: ready again, it is called again" 10 more_served "$address" "$before"
}

# more_served ADDRESS THAN: the pod has answered more requests than that
more_served() { [ "$(served "$1")" -gt "$2" ]; }
