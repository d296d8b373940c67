#!/usr/bin/env bash
# gRPC by reflection: what is served, the details of an error, a deadline, a watch.
set -euo pipefail
agent=${POINTSMAN_SOCKET#unix://}
silent=${POINTSMAN_SILENT_SOCKET#unix://}

call() { grpcurl -plaintext -unix -format-error "$@"; }
pick=pointsman.v1.Agent/Pick

echo "services" "$(call "$agent" list | paste -sd ' ')"

# A code as gRPC calls it.
names='def name: {"4": "DEADLINE_EXCEEDED", "5": "NOT_FOUND"}[tostring];'

answer=$(call -d '{"service": "crat.shop"}' "$agent" $pick 2>&1) || true
jq -r "$names"' .details[0] as $d
  | "error \(.code | name) \($d.reason) \($d.metadata.near)"' <<<"$answer"

answer=$(call -d '{"service": "cart.shop", "wait": "0.2s"}' "$silent" $pick 2>&1) || true
jq -r "$names"' "wait \(.code | name) \(.details[0].reason)"' <<<"$answer"

began=$(date +%s%3N)
answer=$(call -max-time 0.5 -d '{"service": "cart.shop", "wait": "5s"}' "$silent" $pick 2>&1) || true
took=$(($(date +%s%3N) - began))
jq -r "$names"' "deadline \(.code | name) '"$took ms\"" <<<"$answer"

# It has the two events that are looked at, and hangs up on the rest.
set +o pipefail
call -d '{"service": "changing.shop"}' "$agent" pointsman.v1.Agent/WatchService |
  jq -nr '"watch " + ([limit(2; inputs).type] | join(" "))'
