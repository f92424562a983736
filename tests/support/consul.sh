# A Consul server of one's own, on free loopback ports. To be sourced after
# nginx.sh; sets $consul_port and $consul_url. ZEDCUP_CONSUL is the program.

: "${ZEDCUP_CONSUL:=$(command -v consul || echo "$top/build/tools/usr/bin/consul")}"

start_consul() {
    set -- $(free_ports 6)
    consul_port=$1 consul_url=http://127.0.0.1:$1
    mkdir -p "$work/consul"
    cat > "$work/consul.json" <<END
{ "server": true, "bootstrap": true, "bind_addr": "127.0.0.1",
  "data_dir": "$work/consul", "session_ttl_min": "1s",
  "performance": { "raft_multiplier": 1 }, "connect": { "enabled": false },
  "ports": { "http": $1, "dns": -1, "grpc": -1, "server": $2,
             "serf_lan": $3, "serf_wan": $4 } }
END
    start_consul_again
}

# With the same ports and data, after stop_consul.
start_consul_again() {
    "$ZEDCUP_CONSUL" agent -config-file="$work/consul.json" \
        >> "$work/consul.log" 2>&1 &
    consul_pid=$!
    wait_until 20 consul_leads || { cat "$work/consul.log" >&2; exit 1; }
}

consul_leads() {
    curl -s -m 2 "$consul_url/v1/status/leader" | grep -q '"127'
}

stop_consul() {
    [ -n "${consul_pid:-}" ] || return 0
    kill "$consul_pid" 2>/dev/null || :
    wait "$consul_pid" 2>/dev/null || :
    consul_pid=
}
