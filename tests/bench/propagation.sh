#!/bin/sh
# From a change in the store until each of four workers balances by it.
#
#   propagation.sh [ROUNDS]
#
# One worker writes a host's port with a plain KV put (Consul, etcd) or with
# configure_instance (embedded store) and notes the time before; every worker
# looks at its own view each millisecond and notes when the new port is there.
# Both clocks are CLOCK_MONOTONIC, so a figure is an upper bound, too late by
# up to the millisecond between two looks. The rewrites come one at a time.
set -eu
rounds=${1:-200}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-bench.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/etcd.sh"

finish() {
    status=$?
    trap - EXIT INT TERM
    stop_nginx front
    stop_consul
    stop_etcd
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

front_conf() { # STORE STORE-OPTIONS URL
    init=
    [ -z "$2" ] || init="assert(require(\"zedcup\").init({ $2 }))"
    zedcup_main
    nginx_main front 4 warn
    cat <<END
http {
$(nginx_http front)
$(zedcup_http)
    lua_shared_dict seen 8m;
    init_by_lua_block {
        $init
        require("propagation").store = "$1"
        require("propagation").server = "$3"
    }
    init_worker_by_lua_block { require("propagation").watch() }
    server {
        listen 127.0.0.1:$port;
        location = /ready { content_by_lua_block { require("propagation").ready() } }
        location = /run { content_by_lua_block { require("propagation").run() } }
    }
}
END
}

ready() { curl -sf -m 5 "http://127.0.0.1:$port/ready" >/dev/null; }

measure() { # STORE STORE-OPTIONS [URL]
    port=$(free_ports 1)
    front_conf "$1" "$2" "${3:-}" > "$work/front.conf"
    start_nginx front
    wait_until 10 ready || { cat "$work/front.log" >&2; exit 1; }
    curl -s -m 600 "http://127.0.0.1:$port/run?rounds=$rounds" |
        sort -n | awk -v name="$1" -v rounds="$rounds" '
            !/^[0-9.]+$/ { print; bad = 1 }
            { v[NR] = $1 }
            END {
                if (bad || NR == 0) exit 1
                printf "%-10s %7.2f %7.2f %7.2f   %d changes x 4 workers\n", name,
                    v[int(NR / 2) + 1], v[int(NR * 0.99)], v[NR], rounds
            }'
    if [ -n "${3:-}" ]; then
        pids=$(pgrep -P "$(cat "$work/front.pid")" | tr '\n' ' ')
        say "           connections of the node to it: $(connections "${3##*:}" "$pids")"
    fi
    stop_nginx front
}

# Established connections to a port that belong to one of those processes.
connections() { # PORT PIDS
    wanted=$(printf '0100007F:%04X' "$1")
    inodes=$(awk -v peer="$wanted" '$3 == peer && $4 == "01" { print $10 }' /proc/net/tcp)
    count=0
    for pid in $2; do
        for inode in $inodes; do
            if ls -l "/proc/$pid/fd" 2>/dev/null | grep -q "socket:\[$inode\]"; then
                count=$((count + 1))
            fi
        done
    done
    echo "$count"
}

say "propagation, milliseconds      (target: p99 <= 10)"
printf '%-10s %7s %7s %7s\n' store p50 p99 max
measure embedded "embedded = { path = \"$work/store.db\" }"
start_consul
measure consul "consul = { port = $consul_port }" "$consul_url"
start_etcd
measure etcd "etcd = { port = $etcd_port }" "$etcd_url"
measure lreu "" "$etcd_url"
