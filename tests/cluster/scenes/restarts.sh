# shellcheck shell=bash
# Every pod of both applications is replaced at the same time.

# Callers learn of an exit by a failed call. Each pod that exits may cut each caller off once and refuse it
# once: the agent ejects a pod that refuses, until it learns of the exit from the API.
restarts() {
  local from to said often
  from=$(now)
  kubectl rollout restart deployment/cart deployment/stock >/dev/null
  check "restarts: cart rolled" 60 serves cart
  check "restarts: stock rolled" 60 serves stock
  # The last pods are draining.
  sleep 4
  to=$(now)
  picked "restarts" "$from" "$to"
  called "restarts: cart, which drains" "$from" "$to" cart.shop
  said="restarts: stock, which exits at once: failed $(failures "$from" "$to" stock.shop)"
  often=$(calls "$from" "$to" | awk '$3 == "failed" && $4 ~ /^stock/ && ++n[$1, $4, $5] == 3 { print $1, $4, $5 }')
  if [ -z "$often" ]; then echo "ok $said"; else wrong "$said; and more than twice: $often"; fi
}
