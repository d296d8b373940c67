# shellcheck shell=bash
# The Envoys.
# The files of this folder and who reads them share their variables, and names of peers are keys.
# shellcheck disable=SC2004,SC2034,SC2154

# start_envoy: one for each of the peers. api_type and eds_config are what the peers differ in. The clusters of some
# come from the control plane, too.
start_envoy() {
  local at=${address[${over[$peer]}]} log=$folder/envoy-$peer type=GRPC file="envoy"
  local source dynamic eds plane began
  if [[ $peer = *-delta ]]; then type=DELTA_GRPC; fi
  # Else the pause before Envoy connects again grows to 30 s, at random.
  source="{ cluster_name: control-plane,
    retry_policy: { retry_back_off: { base_interval: 0.5s, max_interval: 2s } } }"
  source="{ api_type: $type, transport_api_version: V3,
    grpc_services: [{ envoy_grpc: ${source/$'\n'/} }] }"
  source=${source/$'\n'/}
  dynamic='{}'
  eds="{ api_config_source: $source, resource_api_version: V3 }"
  if [[ $peer = ads-* ]]; then
    dynamic="{ ads_config: $source }"
    eds='{ ads: {}, resource_api_version: V3 }'
  fi
  if [[ $peer = cds-* ]]; then
    dynamic="{ ads_config: $source, cds_config: { ads: {}, resource_api_version: V3 } }"
    file="envoy-clusters"
  fi
  plane="{ socket_address: { address: 127.0.0.1, port_value: ${at##*:} } }"
  if [[ $at = unix:* ]]; then plane="{ pipe: { path: ${at#unix://} } }"; fi
  sed "s|@name@|$peer|; s|@dynamic_resources@|$dynamic|; s|@eds_config@|$eds|; s|@control_plane@|$plane|" \
    "tests/xds/$file.yaml" >"$log.yaml"
  began=$(now)
  "$envoy" --config-path "$log.yaml" --admin-address-path "$log.admin" --concurrency 1 \
    --disable-hot-restart --log-level warning >"$log.log" 2>&1 &
  children[envoy-$peer]=$!
  expect "ready although a service does not exist" ready "$began"
  edge[$peer]=$(admin listeners | sed -n 's/^edge:://p')
}
# admin PAGE: a page of the peer, which is Envoy.
admin() { curl -s --max-time 5 "http://$(cat "$folder/envoy-$peer.admin")/$1"; }

# ready BEGAN: Envoy is in less than 5 s from that. It takes half a second itself, and waits 15 s for a
# control plane that does not say that a service has no endpoints.
ready() {
  until [ "$(admin ready 2>/dev/null)" = LIVE ]; do
    if [ "$(now)" -gt $(($1 + 20000)) ]; then
      echo "not in 20 s"
      return 1
    fi
    sleep 0.05
  done
  local took=$(($(now) - $1))
  echo "$took ms"
  [ "$took" -lt 5000 ]
}
# answers WANTED PATH: what Envoy answers HTTP/1.1, text and status. A server of gRPC would reset the stream,
# which is 503 with another text.
answers() {
  local answer
  answer=$(curl -s --max-time 5 -w ' %{http_code}' "http://${edge[$peer]}$2") || true
  echo "$answer"
  [ "$answer" = "$1" ]
}
# priorities PORT:PRIORITY...: of the endpoints that the brake is tried with.
priorities() {
  local saw
  saw=$(priorities_now)
  echo "$saw"
  [ "$saw" = "$(printf '%s\n' "$@" | sort | xargs)" ]
}
# has_priorities PORT:PRIORITY...: these are among the endpoints that Envoy has of it.
has_priorities() {
  local saw each
  saw=$(priorities_now)
  echo "$saw"
  for each in "$@"; do [[ " $saw " = *" $each "* ]] || return 1; done
}
priorities_now() {
  admin 'clusters?format=json' | jq -r '.cluster_statuses[] | select(.name == "brake") | .host_statuses[] |
    "\(.address.socket_address.port_value):\(.priority // 0)"' | sort | xargs
}
# not_told: Envoy has the endpoints that an agent knows more of, and nothing of that.
not_told() {
  local dump
  dump=$(admin 'config_dump?include_eds')
  jq -r '[.. | .endpoint_config? // empty | select(.cluster_name == "weights.shop:8080") | .endpoints[].lb_endpoints[] |
    (.endpoint.address.socket_address.port_value | tostring) + " " + (.metadata | tostring)] | join(", ")' <<<"$dump"
  grep -q '"weights.shop:8080"' <<<"$dump" && ! grep -E 'node-7|seventh|seven\.example|choices' <<<"$dump"
}
# accepted: Envoy had updates for all six services, and refused none of anything. The clusters have names of their
# own, or those of the services; the latter come as updates, too.
accepted() {
  local stats by_name=0
  if [[ $peer = cds-* ]]; then by_name=1; fi
  stats=$(admin 'stats?filter=update_(success|rejected)')
  awk -F '[.:]' -v by_name=$by_name '
    / 0$/ && /update_rejected/ { none++ }
    /update_rejected/ { counters++; rejected += $NF }
    /^cluster\.(echo|tired|brake|zones|weights|nobody|(edge|edge-tired|edge-brake|zones|weights|web)\.shop_8080)\.update_success/ {
      if ($NF > 0) services++
      updates += $NF
    }
    /^cluster_manager\.cds\.update_success/ { clusters = $NF }
    END {
      print updates + 0 " updates, " clusters + 0 " of clusters, " rejected + 0 " rejected, by " counters + 0 \
        " counters"
      exit !(services == 6 && (clusters > 0) == by_name && counters >= 4 && none == counters)
    }' <<<"$stats"
}
# printed: an Envoy with the file that `pointsman xds bootstrap` prints calls the service in the Host header.
printed() {
  local port process through answer='' until=$(($(now) + 5000))
  port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$pointsman" xds bootstrap envoy "${address[unix]}" --namespace shop --listen "127.0.0.1:$port" \
    >"$folder/printed.json"
  "$envoy" --config-path "$folder/printed.json" --concurrency 1 --disable-hot-restart --log-level warning \
    >"$folder/printed.log" 2>&1 &
  process=$!
  while [[ $answer != *\ 200 ]] && [ "$(now)" -lt "$until" ]; do
    answer=$(curl -s --max-time 5 -w ' %{http_code}' --data '' -H "Host: $1" "http://127.0.0.1:$port/") || sleep 0.05
  done
  through=$(curl -s --max-time 5 -o "$folder/through" -w '%{http_code}' --http2-prior-knowledge --data '' \
    -H "Host: pointsman-control-plane" "http://127.0.0.1:$port/") || true
  kill "$process"
  wait "$process" || true
  echo "$answer, and $through for the control plane's own name"
  [[ $through = 404 && "${*:2}" = *"${answer% 200}"* && $answer = *\ 200 ]]
}
# clusters: Envoy has those of all services of the namespace shop, and no other. It has them 2 s after a change.
clusters() {
  local name wanted had
  wanted=$(for name in "${!services[@]}" control-plane; do
    # It has no port.
    case $name in *.yard) ;; plain.shop | control-plane) echo "$name" ;; *) echo "$name:8080" ;; esac
  done | sort)
  while
    had=$(admin 'clusters?format=json' | jq -r '.cluster_statuses[].name' | sort)
    [ "$had" != "$wanted" ] && [ "$(now)" -lt $((changed + 2000)) ]
  do sleep 0.05; done
  wc -l <<<"$had"
  diff <(echo "$wanted") <(echo "$had")
}
