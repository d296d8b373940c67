# shellcheck shell=bash
# Whether a cluster can run on this machine.

# why_not FOLDER: prints one line if a cluster cannot run here
why_not() {
  local program hierarchy
  if [ "$(id -u)" != 0 ]; then
    echo "needs root: network, mount and PID namespaces, and cgroups"
    return
  fi
  for program in containerd ctr runc ip iptables conntrack nsenter unshare pgrep openssl curl jq python3; do
    if ! command -v $program >/dev/null; then
      echo "needs $program: scripts/tools installs it"
      return
    fi
  done
  if ! unshare --mount --net --pid --fork --mount-proc true 2>/dev/null; then
    echo "may not make network, mount and PID namespaces here"
    return
  fi
  case $(realpath -m "$1")/ in
  /run/* | /var/run/* | /var/lib/* | /var/log/*)
    echo "its folder can't be $1: nodes have their own /run, /var/lib and /var/log"
    return
    ;;
  esac
  if [ "$(stat -f -c %T "$(dirname "$1")")" = overlayfs ]; then
    echo "its folder can't be $1: containers can't be laid over an overlay; set TMPDIR to another disk"
    return
  fi
  if ! [ -w /sys/fs/cgroup ]; then
    echo "may not make cgroups here"
    return
  fi
  if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    for hierarchy in cpu cpuacct cpuset memory pids; do
      if ! [ -w "/sys/fs/cgroup/$hierarchy" ]; then
        echo "has no cgroup hierarchy for $hierarchy"
        return
      fi
    done
  fi
}
