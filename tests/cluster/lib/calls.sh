# shellcheck shell=bash
# What the callers of scenes/callers.yaml met, by what they wrote: see caller-go/main.go. It is read from
# the nodes' own disks, so that an API server that is away takes no part in it.

now() { date +%s%3N; }

# calls FROM TO: the calls that began in this time, one per line: CALLER'S-ZONE WHEN ok SERVICE POD
# ZONE, or CALLER'S-ZONE WHEN failed SERVICE pick|report|ADDRESS WHY
calls() {
  awk -v from="$1" -v to="$2" '
    FNR == 1 { match(FILENAME, /\/node[0-9]+\//); zone = substr("abc", substr(FILENAME, RSTART + 5, 1), 1) }
    ($5 == "ok" || $5 == "failed") && $4 >= from && $4 < to { sub(/^[^ ]+ [^ ]+ [^ ]+ /, ""); print zone, $0 }
  ' "$POINTSMAN_CLUSTER"/node*/log/pods/*_caller-*/caller/*.log
}

# failures FROM TO [SERVICE]: how many calls failed of how many, and the first of them
failures() {
  calls "$1" "$2" | sort -k 2n | awk -v service="${3:-}" '
    $4 ~ "^" service { n++; if ($3 == "failed" && ++failed <= 3) first = first "; " $0 }
    END { print failed + 0 " of " n + 0 " calls" first }'
}

# called NAME FROM TO [SERVICE]: all calls were answered, and there were some
called() {
  local said
  said=$(failures "${@:2}")
  if [[ "$said" =~ ^0\ of\ [0-9]{3,} ]]; then echo "ok $1: failed $said"; else wrong "$1: failed $said"; fi
}

# picked NAME FROM TO: the agents answered all picks, whatever became of the calls
picked() {
  local said
  said=$(calls "$2" "$3" | awk '$3 == "failed" && $5 !~ /^[0-9]/' | head -n 3)
  if [ -z "$said" ]; then echo "ok $1: no pick failed"; else wrong "$1: $said"; fi
}

# shares FROM TO SERVICE: "POD CALLS", of each pod that answered
shares() {
  calls "$1" "$2" | awk -v service="$3" '
    $3 == "ok" && $4 ~ "^" service { n[$5]++ }
    END { for (pod in n) print pod, n[pod] }'
}

# last_call FROM POD: milliseconds from then to the last call that reached it
last_call() {
  calls "$1" "$(now)" | awk -v from="$1" -v pod="$2" '
    $5 == pod && $2 > last { last = $2 }
    END { print last ? last - from : 0 }'
}
