#!/bin/sh
# Who probes, and how often, while nodes come and go: two nginx on one Consul,
# three backends that note each probe, interval 1 s.
#
#   probes.sh [SECONDS]        prints TAP; exit 0 when every point holds
set -eu
seconds=${1:-10}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-probes.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

ttl=4 # Consul is asked for 2 s, and takes up to twice that

finish() {
    status=$?
    trap - EXIT INT TERM
    for name in one two backends; do stop_nginx "$name"; done
    stop_consul
    [ "$status" -eq 0 ] || tail -n 20 "$work/one.log" "$work/two.log"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
set -- $(free_ports 4)
ports="$1 $2 $3"
crowd_port=$4
# Hosts that are overdue are spread over the interval: of so many, some are due
# at once. 127.0.0.2 and so on.
crowd=$(seq 2 41)
{
    nginx_main backends 1 error
    say "http {"
    nginx_http backends
    say 'log_format probe "$msec $server_port $http_user_agent";'
    for port in $ports; do
        say "server { listen 127.0.0.1:$port; access_log $work/probes probe;"
        say "    location / { return 200; } }"
    done
    say "server { access_log $work/crowd probe; location / { return 200; }"
    for i in $crowd; do say "listen 127.0.0.$i:$crowd_port;"; done
    say "} }"
} > "$work/backends.conf"
start_nginx backends

node_conf() { # NAME
    zedcup_main
    nginx_main "$1" 2
    say "http {"
    nginx_http "$1"
    zedcup_http
    cat <<END
    init_by_lua_block {
        assert(require("zedcup").init({ consul = { port = $consul_port } }))
    }
    init_worker_by_lua_block { require("zedcup").run_workers() }
}
END
}
start_node() { # NAME
    node_conf "$1" > "$work/$1.conf"
    start_nginx "$1"
}
node_pids() { # NAME
    master=$(cat "$work/$1.pid")
    say "$master"
    pgrep -P "$master"
}

put() { curl -s -m 5 -X PUT -d "$2" "$consul_url/v1/kv/zedcup/$1" > /dev/null; }
get() { curl -s -m 5 "$consul_url/v1/kv/zedcup/$1?raw"; }

put config/session_ttl $ttl
put instances/web/healthcheck/interval 1
index=0
for port in $ports; do
    index=$((index + 1))
    put instances/web/pools/1/hosts/$index/port "$port"
    put instances/web/pools/1/hosts/$index/host 127.0.0.1
done
put instances/crowd/healthcheck/interval 1
for i in $crowd; do
    put instances/crowd/pools/1/hosts/$i/port "$crowd_port"
    put instances/crowd/pools/1/hosts/$i/host "127.0.0.$i"
done

now() { date +%s.%N; }
# Probes after a time (of all hosts).
probes_after() { awk -v from="$1" '$1 > from { n++ } END { print n + 0 }' "$work/probes"; }
some_after() { [ -s "$work/probes" ] && [ "$(probes_after "$1")" -gt 0 ]; }
# Seconds from that time to the first probe of each host, the longest of them.
resumed_after() {
    awk -v from="$1" '$1 > from && !($2 in t) { t[$2] = $1 - from }
        END { for (p in t) { n++; if (t[p] > most) most = t[p] }
              if (n < 3) most = 999; printf "%.2f", most }' "$work/probes"
}
# Seconds from that time to the first probe of any host, the crowd included.
first_after() {
    awk -v from="$1" '$1 > from && (t == "" || $1 - from < t) { t = $1 - from }
        END { printf "%.2f", t == "" ? 999 : t }' "$work/probes" "$work/crowd"
}
all_after() { [ "$(resumed_after "$1")" != 999.00 ]; }
# The busiest and the laziest host, as probes a second since that time.
rates() { # FROM SECONDS
    awk -v from="$1" -v span="$2" '$1 > from && $1 <= from + span { n[$2]++ }
        END { low = 999; for (p in n) { c++; if (n[p] < low) low = n[p]
                  if (n[p] > high) high = n[p] }
              if (c < 3) low = 0
              printf "%.2f %.2f", low / span, high / span }' "$work/probes"
}
within() { awk -v x="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(x >= low && x <= high) }'; }
registered() { [ "$(curl -s "$consul_url/v1/kv/zedcup/registry/?keys" | grep -o '"zedcup[^"]*"' | wc -l)" -eq "$1" ]; }
check_rate() { # FROM SECONDS WHAT
    set -- "$1" "$2" "$3" $(rates "$1" "$2")
    within "$4" 0.8 1.2 && within "$5" 0.8 1.2 ||
        bad "$3: $4 to $5 probes a second and host"
    ok "$3: $4 to $5 probes a second and host"
}

start_node one
wait_until 10 some_after 0 || bad "nobody probes"
start_node two
wait_until 10 registered 2 || bad "two nodes are not registered"
grep -q "zedcup/.* HTTP check" "$work/probes" || bad "a probe says who it is"
from=$(now)
sleep "$seconds" # what is measured is a rate
check_rate "$from" "$seconds" "two nodes"

# ---- the probing worker dies: the next one of its node goes on ----
prober=$(get locks/healthcheck | sed 's/locked: //')
kill -KILL "$prober"
from=$(now)
wait_until 10 all_after "$from" || bad "no probes after the worker's death"
took=$(resumed_after "$from")
within "$took" 0 3 || bad "worker killed: probes resume after $took s"
ok "worker killed: all hosts are probed within $took s"

# ---- the whole node dies ----
prober=$(get locks/healthcheck | sed 's/locked: //')
node=one other=two
node_pids one | grep -qx "$prober" || { node=two other=one; }
pids=$(node_pids $node)
# shellcheck disable=SC2086
kill -KILL $pids
from=$(now)
rm -f "$work/$node.pid"
wait_until 20 all_after "$from" || bad "no probes after the node's death"
first=$(first_after "$from")
took=$(resumed_after "$from")
# the session's end, no lock-delay, and what it takes to notice and connect …
within "$first" 0 $ttl.3 || bad "node killed: the first probe is after $first s"
ok "node killed: the first probe is after $first s (session_ttl $ttl s)"
# … and each host's turn
within "$took" 0 $((ttl + 2)) || bad "node killed: probes resume after $took s"
ok "node killed: all hosts are probed within $took s"

# ---- the probing node quits ----
start_node $node
wait_until 10 registered 2 || bad "the node does not come back"
kill -QUIT "$(cat "$work/$other.pid")"
from=$(now)
wait_until 10 all_after "$from" || bad "no probes after the node's end"
took=$(resumed_after "$from")
within "$took" 0 2 || bad "node quit: probes resume after $took s"
ok "node quit: all hosts are probed within $took s"
from=$(now)
sleep 5
check_rate "$from" 5 "the node that is left"
if grep -E '\[(alert|emerg|crit)\]' "$work"/*.log | grep -v 'exited on signal 9'; then
    bad "alarms in the error log"
fi
all_passed
