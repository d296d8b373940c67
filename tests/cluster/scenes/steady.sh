# shellcheck shell=bash
# Nothing changes: each call is answered, each pod gets its share, and calls stay in their zones.

# shared NAME PODS FROM TO SERVICE: this many pods were called, each at least half and at most twice its
# share
shared() {
  local said
  if said=$(shares "$3" "$4" "$5" | awk -v pods="$2" '
    { calls += $2; if (NR == 1 || $2 < least) least = $2; if ($2 > most) most = $2 }
    END {
      share = calls / pods
      print NR " pods, " least " to " most " calls each"
      exit !(NR == pods && least > share / 2 && most < share * 2)
    }'); then
    echo "ok $1: $said"
  else
    wrong "$1: $said"
  fi
}

# in_own_zone FROM TO SERVICE: the percentage of its calls that stayed in the caller's zone
in_own_zone() {
  calls "$1" "$2" | awk -v service="$3" '
    $3 == "ok" && $4 ~ "^" service { n++; own += $1 == $6 }
    END { print int(100 * own / n) }'
}

steady() {
  local from to port own all said
  from=$(now)
  sleep 6
  to=$(now)
  called "steady: Go over gRPC and Python over HTTP, on three nodes" "$from" "$to"
  for port in grpc http; do
    shared "steady: cart over $port" 6 "$from" "$to" "cart.shop:$port"
    shared "steady: stock over $port" 3 "$from" "$to" "stock.shop:$port"
  done
  own=$(in_own_zone "$from" "$to" cart.shop)
  all=$(in_own_zone "$from" "$to" stock.shop)
  said="zones: $own% of cart's calls stay in their caller's, $all% of stock's, where that is off"
  # By chance a third would stay. The rest of cart's calls overflow for a moment.
  if [ "$own" -ge 90 ] && [ "$all" -le 50 ]; then echo "ok $said"; else wrong "$said"; fi
}
