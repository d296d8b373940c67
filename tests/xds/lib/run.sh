# shellcheck shell=bash
# A run: its folder, its children, and what it says of each check.
# The files of this folder and who reads them share their variables.
# shellcheck disable=SC2034,SC2154

folder=$(mktemp -d)
declare -A children
end() {
  kill "${children[@]}" 2>/dev/null || true
  rm -rf "$folder"
  wait || true
}
trap end EXIT
failed=0
now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
joined() {
  local IFS=,
  echo "$*"
}

# stop SIGNAL CHILD: and waits for its end.
stop() {
  kill -s "$1" "${children[$2]}"
  wait "${children[$2]}" 2>/dev/null || true
  unset "children[$2]"
}

# expect WHAT RULE...: a rule says what it saw, and fails if that is wrong.
expect() {
  local saw
  if saw=$("${@:2}"); then
    echo "ok $peer: $1 ($saw)"
  else
    echo "WRONG $peer: $1: $saw"
    failed=1
  fi
}

# await_number NUMBER COMMAND...: until the command prints it.
await_number() {
  for _ in $(seq 100); do
    [ "$("${@:2}")" = "$1" ] && return
    sleep 0.05
  done
  echo "WRONG: not $1 but $("${@:2}"): ${*:2}"
  failed=1
}
