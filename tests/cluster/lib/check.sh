# shellcheck shell=bash
# What a test says of each thing that has to hold: "ok NAME" or "WRONG NAME: WHY", a line each. $failed
# is 1 from the first that does not.
# shellcheck disable=SC2034,SC2154

wrong() {
  echo "WRONG $*"
  failed=1
}

# check NAME SECONDS COMMAND...: COMMAND succeeds within that time
check() {
  local name=$1 seconds=$2 until=$((SECONDS + $2)) said
  shift 2
  until said=$("$@" 2>&1); do
    if [ "$SECONDS" -ge "$until" ]; then
      wrong "$name: not within $seconds s: $said"
      return
    fi
    sleep 0.1
  done
  echo "ok $name"
}

# bring_up ARGUMENTS...: of `cluster up`. If that fails, the test ends with its output and exit code.
bring_up() {
  local said status=0
  said=$("$here/cluster" up "$@" 2>&1) || status=$?
  if [ "$status" != 0 ]; then
    echo "$said"
    exit "$status"
  fi
}

# nothing_left BEFORE: `host-state` prints the same as before
nothing_left() {
  local left
  if left=$(diff <(echo "$1") <("$here/host-state")); then
    echo "ok down: nothing is left"
  else
    wrong "down: this is left: $left"
  fi
}
