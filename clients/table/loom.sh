#!/usr/bin/env bash
# Runs the loom models of the real code. Then shows that each tested memory ordering is needed: without it
# its models have to fail. Prints a line per model. Fails if a model fails with the real code, or passes
# without its ordering.
set -u
cd "$(dirname "$0")" || exit 1
target=${CARGO_TARGET_DIR:-../../target}/loom
mkdir -p "$target/wrappers" && target=$(realpath "$target") || exit 1
export CARGO_TARGET_DIR=$target RUSTFLAGS="--cfg loom" LOOM_LOG=off
status=0

# Builds the models with the removal `$1` ("" as shipped) and prints the path of their program. The cfg goes
# to this workspace's crates only, by a wrapper of its own, so that dependencies are built once.
build() {
  unset RUSTC_WORKSPACE_WRAPPER
  if [ -n "$1" ]; then
    export RUSTC_WORKSPACE_WRAPPER=$target/wrappers/$1
    printf '#!/bin/sh\nexec "$@" --cfg %s\n' "$1" >"$RUSTC_WORKSPACE_WRAPPER.new"
    chmod +x "$RUSTC_WORKSPACE_WRAPPER.new"
    # Replaced only where it differs: its time is part of what cargo compares.
    cmp -s "$RUSTC_WORKSPACE_WRAPPER.new" "$RUSTC_WORKSPACE_WRAPPER" ||
      mv "$RUSTC_WORKSPACE_WRAPPER.new" "$RUSTC_WORKSPACE_WRAPPER"
  fi
  cargo test --release --quiet -p pointsman-table --test loom --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4
}

# Runs model `$3` of program `$2`, which was built with the removal `$1` ("" as shipped).
run() {
  local output
  output=$(RUST_BACKTRACE=0 "$2" --exact "$3" 2>&1)
  local code=$?
  if [ -z "$1" ] && [ $code -eq 0 ]; then
    echo "ok    $3: passes as shipped"
  elif [ -n "$1" ] && [ $code -ne 0 ] && grep -q "panicked at" <<<"$output"; then
    echo "ok    $3: fails with $1: $(grep -A 1 'panicked at' <<<"$output" | sed -n 2p)"
  else
    status=1
    echo "WRONG $3: $([ -z "$1" ] && echo "fails as shipped" || echo "passes with $1")"
    echo "$output" | tail -n 20
  fi
}

check() {
  local removal=$1 program
  shift
  program=$(build "$removal")
  if [ ! -x "$program" ]; then
    echo "WRONG the models do not build ${removal:+with --cfg $removal}"
    exit 1
  fi
  [ $# -gt 0 ] || mapfile -t models < <("$program" --list | sed -n 's/: test$//p')
  for model in "${@:-${models[@]}}"; do run "$removal" "$program" "$model"; done
}

check ""
check no_writer_fence a_structure_is_read_whole_or_not_at_all
check no_reader_fence a_structure_is_read_whole_or_not_at_all
check no_wake_barrier an_end_is_found_by_the_last_look_or_wakes_the_agent
check relaxed_end an_end_is_never_seen_without_its_start the_processs_own_sum_is_never_negative
exit $status
