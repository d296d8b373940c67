# shellcheck shell=bash
# What is right of calls.
# The files of this folder and who reads them share their variables.
# shellcheck disable=SC2034,SC2154

# The rules of tests/xds/rules.py, which judge the calls of a name.
judge() { "$python" tests/xds/rules.py "$1" "$folder/$2-$peer" "${@:3}"; }

# called_by_name NAME TARGET PORT...: each of the ports answered, and nothing else did. gRPC Node.js connects to
# http://TARGET, which is no URL if its port is a name: it sends no call.
called_by_name() {
  local answers=("${@:3}")
  case $peer:$2 in
    node-*:*:grpc) answers=(UNAVAILABLE) ;;
    # A cluster has one name.
    agent-go-*:*:grpc) answers=(NOT_FOUND) ;;
  esac
  judge reached "$1" 0 "$(now)" "${answers[@]}"
}
# refused_at_once NAME: all calls so far failed, the first one at once, which is 2 s on a busy machine. The first
# call of a program in Java loads some 3000 classes. That alone takes 2 s, so it has 5 s: a third of what it
# would wait for an answer.
refused_at_once() {
  local at_most=2000
  if [[ $peer = java-* ]]; then at_most=5000; fi
  judge refused "$1" "$at_most" UNAVAILABLE
}
# What calls of a name fail with that is no service.
absent() { if [[ $peer = agent-* ]]; then echo NOT_FOUND; else echo UNAVAILABLE; fi; }
absent_at_first() { judge refused "$1" 5000 "$(absent)"; }
absent_again() { judge reached "$@" "$(absent)"; }
# after_the_last NAME SINCE UNTIL PORT...: what a service answers whose endpoints had these ports, and that has no
# more endpoints. gRPC Java takes an assignment without endpoints for an error, and keeps what it had.
after_the_last() {
  local answers=(UNAVAILABLE)
  if [[ $peer = java-* ]]; then answers=("${@:4}"); fi
  judge reached "${@:1:3}" "${answers[@]}"
}
# comes_again NAME PORT: a change came from a control plane that is there again. gRPC Go and Java do not wait for
# a connection to open a stream, but open one after pauses of their own, as long as those of the connection. Such
# a pause may begin just before the connection is there, when it has grown to 8 s (6.6 s, and 20% of chance).
comes_again() {
  local at_most=10
  case $peer in go-* | java-*) at_most=15 ;; esac
  judge comes "$1" "$changed" "$2" "$at_most"
}
