# shellcheck shell=bash
# The programs that run: the one that is tested, gRPC in several languages, Envoy, and go-control-plane. The user's cache keeps them, by a hash
# of what pins them.
# The files of this folder and who reads them share their variables.
# shellcheck disable=SC2034,SC2154

pointsman=$(realpath -m "${POINTSMAN:-${CARGO_TARGET_DIR:-target}/release/pointsman}")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pointsman/tools
# Prints the folder of a virtual environment with gRPC and Envoy. Makes it if it is missing.
environment() {
  local pins=tests/xds/requirements.txt versions=tests/clients/python/packages/requirements.txt of made
  of=$({ python3 -VV && cat "$pins" "$versions"; } | sha256sum | cut -c 1-12)
  made=$cache/xds-peers-$of
  if [ ! -e "$made/.complete" ]; then
    mkdir -p "$cache"
    (
      flock 9
      [ -e "$made/.complete" ] && exit
      rm -rf "$made"
      python3 -m venv "$made" &&
        "$made/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
          -r "$pins" -c "$versions" &&
        touch "$made/.complete"
    ) 9>"$cache/xds-peers.lock" >&2 || return
  fi
  touch "$made" "$made/.complete"
  # 150 MB each: what was not used for a month goes.
  find "$cache" -mindepth 1 -maxdepth 1 -name 'xds-peers-*' -mtime +30 -exec rm -rf {} +
  echo "$made"
}

environment=$(environment)
python=$environment/bin/python
envoy=$(echo "$environment"/lib/python*/site-packages/envoy/_bin/envoy)
go=$(tests/xds/go/build)
node=$(tests/xds/node/build)
java=$(tests/xds/java/build)
another=$(tests/xds/go-control-plane/build)/go-control-plane
# An archive of the classes that a program loads: with it one is ready after 0.7 s of a core, else after 2 s. The
# first one makes it.
classes=$java/classes-$(java -version 2>&1 | sha256sum | cut -c 1-12).jsa
# gRPC and curl would ask a proxy for addresses on loopback, too.
export no_proxy=127.0.0.1 no_grpc_proxy=127.0.0.1
