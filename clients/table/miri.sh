#!/usr/bin/env bash
# Runs the tests that need no system call under Miri: undefined behaviour in the memory that is
# shared, the indices that are not checked, the atomics. Exit 3 where there is no Miri to run.
set -u
cd "$(dirname "$0")" || exit 1
if ! cargo +nightly miri --version >/dev/null 2>&1; then
  echo "miri: no nightly toolchain with Miri here; to get it: rustup toolchain install nightly --component miri,rust-src"
  exit 3
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target}/miri
# A case takes a second where it takes a millisecond otherwise.
export PROPTEST_CASES=${PROPTEST_CASES:-2}
# Seeds and the number of cases come from outside.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
# What Miri compiled remembers the folder it was compiled in, and cargo takes that of another
# checkout for fresh, whatever the age of its files.
CARGO_TARGET_DIR=$CARGO_TARGET_DIR/miri cargo +nightly clean --quiet -p pointsman-table \
  --target "$(rustc +nightly --print host-tuple)" || exit 1
cargo +nightly miri test -p pointsman-table --lib --test picks --test sweeps --test agreement --test properties "$@"
