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
#
# "… plain" is an nginx without Lua, whose view nobody can ask: there a client
# writes, and sends each worker a request a millisecond until one is proxied by
# the new port (propagation_plain.pl). Its figures hold such a request's way; "its
# own answer" is when the store had answered those puts, for comparison. An
# embedded store could only be written by another nginx, for which its leader
# looks every 0.2 s: there is nothing to measure.
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
    for name in front plain back; do stop_nginx "$name"; done
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

# The table's line, of milliseconds one a line.
figures() { # NAME
    sort -n | awk -v name="$1" -v rounds="$rounds" '
        !/^[0-9.]+$/ { print; bad = 1 }
        { v[NR] = $1 }
        END {
            if (bad || NR == 0) exit 1
            printf "%-15s %7.2f %7.2f %7.2f   %d changes x %d\n", name,
                v[int(NR / 2) + 1], v[int(NR * 0.99)], v[NR], rounds, NR / rounds
        }'
}

ready() { curl -sf -m 5 "http://127.0.0.1:$port/ready" >/dev/null; }

measure() { # STORE STORE-OPTIONS [URL]
    port=$(free_ports 1)
    front_conf "$1" "$2" "${3:-}" > "$work/front.conf"
    start_nginx front
    wait_until 10 ready || { cat "$work/front.log" >&2; exit 1; }
    curl -s -m 600 "http://127.0.0.1:$port/run?rounds=$rounds" | figures "$1"
    if [ -n "${3:-}" ]; then
        pids=$(pgrep -P "$(cat "$work/front.pid")" | tr '\n' ' ')
        say "                connections of the node to it: $(connections "${3##*:}" "$pids")"
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

plain_conf() { # STORE-URL
    zedcup_main | tail -n 1
    nginx_main plain 4 warn
    cat <<END
http {
$(nginx_http plain)
    zedcup_store $1;
    upstream app { zedcup bench; keepalive 8; }
    server {
        listen 127.0.0.1:$port reuseport;
        keepalive_requests 1000000;
        location / {
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            add_header X-Worker \$pid;
        }
    }
}
END
}

# Two ports that say their number.
back_conf() { # PORT PORT
    nginx_main back 1 error
    say "http {"
    nginx_http back
    say "server { listen 127.0.0.1:$1; listen 127.0.0.1:$2; keepalive_requests 1000000;"
    say '    location / { return 200 "$server_port\n"; } } }'
}

# The instance is there, from the run before.
measure_plain() { # STORE STORE-URL STORE-PORT
    set -- "$1" "$2" "$3" $(free_ports 3)
    port=$4
    back_conf "$5" "$6" > "$work/back.conf"
    start_nginx back
    plain_conf "$2" > "$work/plain.conf"
    start_nginx plain
    perl "$top/tests/bench/propagation_plain.pl" "$port" 4 "$rounds" "$1" "$3" "$5" "$6" \
        > "$work/took" || { cat "$work/plain.log" >&2; exit 1; }
    grep -v put "$work/took" | figures "$1, plain"
    sed -n 's/^put //p' "$work/took" | figures " its own answer"
    stop_nginx plain
    stop_nginx back
}

say "propagation to four workers, milliseconds      (target: p99 <= 10)"
printf '%-15s %7s %7s %7s\n' store p50 p99 max
measure embedded "embedded = { path = \"$work/store.db\" }"
start_consul
measure consul "consul = { port = $consul_port }" "$consul_url"
measure_plain consul "consul://127.0.0.1:$consul_port/zedcup" "$consul_port"
start_etcd
measure etcd "etcd = { port = $etcd_port }" "$etcd_url"
measure_plain etcd "etcd://127.0.0.1:$etcd_port/zedcup" "$etcd_port"
measure lreu "" "$etcd_url"
