# shellcheck shell=bash
# The services, and what tells the control planes of them.
# The files of this folder and who reads them share their variables.
# shellcheck disable=SC2034,SC2154

# The services as they are in the file, by name, and the clusters in that of go-control-plane.
declare -A services clusters
# service NAME ENDPOINT...: sets a service. An endpoint is a port, and may have fields: "40001, zone: a".
service() {
  local endpoint listed=
  for endpoint in "${@:2}"; do
    listed+="{address: 127.0.0.1, ports: {grpc: ${endpoint%%,*}}${endpoint#"${endpoint%%,*}"}}, "
  done
  services[$1]="{name: $1, ports: [{name: grpc, port: 8080}], endpoints: [$listed]}"
  cluster "$1:8080" "${@:2}"
}
# cluster NAME ENDPOINT...: sets a cluster. An endpoint may have the host "localhost", too, and a priority.
cluster() {
  local endpoint fields at listed=()
  for endpoint in "${@:2}"; do
    at=${endpoint%%,*}
    fields=$(sed 's/, \([a-z]*\): \([a-z]*\)\([0-9]*\)/, "\1": "\2\3"/g; s/"\([0-9]*\)"/\1/g
      s/"draining"/"DRAINING"/; s/"unready"/"UNHEALTHY"/' <<<"${endpoint#"$at"}")
    if [[ $at != *:* ]]; then at=127.0.0.1:$at; fi
    listed+=("{\"address\": \"$at\"$fields}")
  done
  clusters[$1]="{\"name\": \"$1\", \"endpoints\": [$(joined "${listed[@]}")]}"
}
gone() { unset "services[$1]" "clusters[$1:8080]"; }

# Writes the files. What comes to the peers is measured from here. Waits until the control planes and the agents
# have as many services, because a program in Go calls 20 ms after it was started, and a new service takes longer.
publish() {
  local name page agent wanted
  {
    echo services:
    for name in "${!services[@]}"; do echo "  - ${services[$name]}"; done
  } >"$folder/new.yaml"
  echo "{\"services\": [$(joined "${clusters[@]}")]}" >"$folder/new.json"
  changed=$(now)
  mv "$folder/new.yaml" "$folder/services.yaml"
  mv "$folder/new.json" "$folder/clusters.json"
  for page in "${pages[@]}"; do await_number ${#services[@]} published "$page"; done
  for agent in "${agents[@]}"; do
    wanted=${#services[@]}
    # The name of a service has a dot.
    if [[ $agent = *-go-* ]]; then wanted=$(printf '%s\n' "${!clusters[@]}" | grep -c '\.'); fi
    await_number "$wanted" known "$agent"
  done
}
published() { curl -s "http://$1/metrics" | sed -n 's/^pointsman_control_plane_resources{type="assignment",client="grpc"} //p'; }

# start_endpoints GRPC HTTP [ADDRESS]: so many servers of tests/xds/echo.py. Their ports are in the file "ports".
start_endpoints() {
  "$python" tests/xds/echo.py "$@" >"$folder/ports" &
  children[echo]=$!
  for _ in $(seq 200); do
    [ -s "$folder/ports" ] && break
    sleep 0.05
  done
}
