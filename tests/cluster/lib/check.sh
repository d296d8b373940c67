# shellcheck shell=bash
# What a test says of each thing that has to hold: "ok NAME" or "WRONG NAME: WHY", a line each. $failed
# is 1 from the first that does not.
# shellcheck disable=SC2034

# check NAME SECONDS COMMAND...: it succeeds, in time.
check() {
  local name=$1 seconds=$2 until=$((SECONDS + $2)) said
  shift 2
  until said=$("$@" 2>&1); do
    if [ "$SECONDS" -ge "$until" ]; then
      echo "WRONG $name: not within $seconds s: $said"
      failed=1
      return
    fi
    sleep 0.1
  done
  echo "ok $name"
}
