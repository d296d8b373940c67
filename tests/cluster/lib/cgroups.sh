# shellcheck shell=bash
# The control groups of a cluster: one that bears its name in every hierarchy, and one in it for each
# of its nodes. Both of the kernel's interfaces: v2, which distributions boot now, and v1.

cgroup_root=/sys/fs/cgroup

# cgroup_of CLUSTER: its name has the cluster, so that it can be found when the folder is gone
cgroup_of() { echo "pointsman-$(sha256sum <<<"$1" | cut -c 1-12)"; }

cgroups_are_v2() { [ -e "$cgroup_root/cgroup.controllers" ]; }

hierarchies() {
  if cgroups_are_v2; then echo "$cgroup_root"; else printf '%s\n' "$cgroup_root"/*/; fi
}

# make_cgroups PATH, such as cluster/node1
make_cgroups() {
  local hierarchy
  while read -r hierarchy; do
    make_cgroup "${hierarchy%/}" "$1"
  done < <(hierarchies)
}

# make_cgroup HIERARCHY PATH: makes one level after another, because a group gets its controllers from
# its parent
make_cgroup() {
  local at=$1 part parts
  IFS=/ read -ra parts <<<"$2"
  for part in "${parts[@]}"; do
    if cgroups_are_v2; then hand_controllers_on "$at"; fi
    mkdir -p "$at/$part"
    if [ -e "$at/cpuset.cpus" ] && ! cgroups_are_v2; then
      cat "$at/cpuset.cpus" >"$at/$part/cpuset.cpus"
      cat "$at/cpuset.mems" >"$at/$part/cpuset.mems"
    fi
    at+=/$part
  done
  if cgroups_are_v2; then hand_controllers_on "$at"; fi
}

# hand_controllers_on GROUP: enables all controllers that the kubelet needs, if the machine has them
hand_controllers_on() {
  local controller
  for controller in cpu cpuset memory hugetlb pids; do
    grep -qw $controller "$1/cgroup.controllers" || continue
    grep -qw $controller "$1/cgroup.subtree_control" && continue
    echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || {
      echo "the cgroup controller $controller can't be handed on from $1: are there processes in it?" >&2
      return 1
    }
  done
}

# Prints the controllers that the machine's root enables for its groups, so that they can be restored.
# Only v2 has this.
handed_on() {
  if cgroups_are_v2; then cat "$cgroup_root/cgroup.subtree_control"; fi
}

# hand_on_only CONTROLLERS: restores what handed_on printed. Controllers that another group uses by now
# stay.
hand_on_only() {
  local controller
  for controller in $(handed_on); do
    [[ " $1 " == *" $controller "* ]] && continue
    echo "-$controller" >"$cgroup_root/cgroup.subtree_control" 2>/dev/null || true
  done
}

# remove_cgroups PATH: its processes were killed, but the kernel needs a moment to remove them
remove_cgroups() {
  local hierarchy try
  for ((try = 0; try < 100; try++)); do
    while read -r hierarchy; do
      find "${hierarchy%/}/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done < <(hierarchies)
    cgroup_exists "$1" || return 0
    sleep 0.1
  done
  echo "cgroups that can't be removed: $1" >&2
  return 1
}

cgroup_exists() {
  local hierarchy
  while read -r hierarchy; do
    if [ -e "${hierarchy%/}/$1" ]; then return; fi
  done < <(hierarchies)
  return 1
}
