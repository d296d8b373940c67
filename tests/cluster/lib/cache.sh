# shellcheck shell=bash
# What takes long to build is built once and kept in the user's cache, by what it is made from.

# cached KIND COMMAND FILE...: prints the folder that `COMMAND FOLDER` filled. Runs COMMAND only if
# there is no such folder for the same files and the same Go.
cached() {
  local kind=$1 command=$2 cache key folder
  shift 2
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/pointsman/$kind
  key=$({ go env GOVERSION GOOS GOARCH && sha256sum "$@"; } | sha256sum | cut -c 1-16)
  folder=$cache/$key
  mkdir -p "$cache"
  (
    flock 9
    [ -e "$folder/.complete" ] && exit
    rm -rf "$folder"
    mkdir "$folder"
    "$command" "$folder" 9>&- >&2
    touch "$folder/.complete"
  ) 9>"$cache/lock"
  # Removes what was not used for a month.
  touch "$folder/.complete"
  find "$cache" -mindepth 2 -maxdepth 2 -name .complete -mtime +30 -printf '%h\0' | xargs -0 -r rm -rf
  echo "$folder"
}
