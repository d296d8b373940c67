#!/usr/bin/env bash
# HTTP by curl: an error's JSON, a wait, a watch. Which HTTP it speaks is its own configuration's.
set -euo pipefail
agent=${POINTSMAN_SOCKET#unix://}
silent=${POINTSMAN_SILENT_SOCKET#unix://}
url=http://localhost/v1

curl -s --unix-socket "$agent" -o /dev/null -w 'http %{http_version}\n' "$url/services"

answer=$(curl -s --unix-socket "$agent" -w '%{http_code}' "$url/pick" -d '{"service": "crat.shop"}')
jq -nr 'input.error as $e | $e.details[0] as $d | input as $status
  | "error \($status) \($e.code) \($d.reason) \($d.metadata.near)"' <<<"$answer"

answer=$(curl -s --unix-socket "$silent" -w '%{http_code}' "$url/pick" \
  -d '{"service": "cart.shop", "wait": "0.2s"}')
jq -nr 'input.error as $e | input as $status
  | "wait \($status) \($e.code) \($e.details[0].reason)"' <<<"$answer"

# It has the two events that are looked at, and hangs up on the rest.
set +o pipefail
curl -sN --unix-socket "$agent" "$url/services/changing.shop?watch=true" |
  jq -nr '"watch " + ([limit(2; inputs).type] | join(" "))'
