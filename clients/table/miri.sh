#!/usr/bin/env bash
# Runs the tests without system calls under Miri. It finds undefined behaviour in shared memory, unchecked
# indices and atomics. Exits with 3 without Miri.
set -u
cd "$(dirname "$0")" || exit 1
if ! cargo +nightly miri --version >/dev/null 2>&1; then
  echo "miri: no nightly toolchain with Miri here; to get it: rustup toolchain install nightly --component miri,rust-src"
  exit 3
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../target}/miri
# A case takes a second here, and a millisecond otherwise.
export PROPTEST_CASES=${PROPTEST_CASES:-2}
# Seeds and the number of cases come from outside.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
# A build by Miri contains the path of its folder, and cargo would use the build of another checkout.
CARGO_TARGET_DIR=$CARGO_TARGET_DIR/miri cargo +nightly clean --quiet -p pointsman-table \
  --target "$(rustc +nightly --print host-tuple)" || exit 1
cargo +nightly miri test -p pointsman-table --lib --test picks --test sweeps --test agreement --test properties "$@"
