#!/bin/sh
# Who probes, and how often, while nodes come and go: two nginx on one Consul,
# three hosts that note each probe, interval 1 s. Node "one" has no Lua: it
# probes first, is killed over it, and takes over again when the other quits.
#
#   probes.sh [SECONDS]        prints TAP; exit 0 when every point holds
set -eu
seconds=${1:-10}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"
. "$top/tests/support/probed.sh"
nodes='one two'
ttl=4 # Consul is asked for 2 s, and takes up to twice that

start_consul
set -- $(free_ports 6)
one=$5 two=$6
serve_probed "$4" "$1" "$2" "$3"
put config/session_ttl $ttl
put instances/web/healthcheck/interval 1
index=0
for port in "$1" "$2" "$3"; do
    index=$((index + 1))
    put instances/web/pools/1/hosts/$index/port "$port"
    put instances/web/pools/1/hosts/$index/host 127.0.0.1
done
put_crowd

node_pids() { master "$1"; workers "$1"; }
prober() { get locks/healthcheck | sed 's/locked: //'; }

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
all_after() { [ "$(resumed_after "$1")" != 999.00 ]; }
# The busiest and the laziest host, as probes a second since that time.
rates() { # FROM SECONDS
    awk -v from="$1" -v span="$2" '$1 > from && $1 <= from + span { n[$2]++ }
        END { low = 999; for (p in n) { c++; if (n[p] < low) low = n[p]
                  if (n[p] > high) high = n[p] }
              if (c < 3) low = 0
              printf "%.2f %.2f", low / span, high / span }' "$work/probes"
}
registered() { [ "$(curl -s "$consul_url/v1/kv/zedcup/registry/?keys" | grep -o '"zedcup[^"]*"' | wc -l)" -eq "$1" ]; }
check_rate() { # FROM SECONDS WHAT
    set -- "$1" "$2" "$3" $(rates "$1" "$2")
    within "$4" 0.8 1.2 && within "$5" 0.8 1.2 ||
        bad "$3: $4 to $5 probes a second and host"
    ok "$3: $4 to $5 probes a second and host"
}
probes_resume() { # WHAT MOST: after $from
    wait_until 20 all_after "$from" || bad "$1: no probes"
    took=$(resumed_after "$from")
    within "$took" 0 "$2" || bad "$1: probes resume after $took s"
    ok "$1: all hosts are probed within $took s"
}

start_node one 2 plain plain.conf
wait_until 10 some_after 0 || bad "nobody probes"

# ---- the probing worker dies: the other one of its node goes on ----
kill -KILL "$(prober)"
from=$(now)
probes_resume "worker killed" 3
first=$(first_after "$from")
within "$first" 0 1 || bad "worker killed: the first probe is after $first s"
ok "worker killed: the first probe is after $first s"

start_node two 2 lua cluster.conf
wait_until 10 registered 2 || bad "two nodes are not registered"
grep -q "zedcup/.* HTTP check" "$work/probes" || bad "a probe says who it is"
from=$(now)
sleep "$seconds" # what is measured is a rate
check_rate "$from" "$seconds" "two nodes"

# ---- the whole node dies ----
node_pids one | grep -qx "$(prober)" || bad "the node without Lua does not probe"
# shellcheck disable=SC2046
kill -KILL $(node_pids one)
from=$(now)
rm -f "$work/one.pid"
wait_until 20 all_after "$from" || bad "no probes after the node's death"
first=$(first_after "$from")
# the session's end, no lock-delay, and what it takes to notice and connect …
within "$first" 0 $ttl.3 || bad "node killed: the first probe is after $first s"
ok "node killed: the first probe is after $first s (session_ttl $ttl s)"
# … and each host's turn
probes_resume "node killed" $((ttl + 2))

# ---- the probing node quits ----
node_pids two | grep -qx "$(prober)" || bad "the other node does not probe"
start_node one 2 plain plain.conf
wait_until 10 registered 2 || bad "the node does not come back"
kill -QUIT "$(master two)"
from=$(now)
probes_resume "node quit" 2
from=$(now)
sleep 5
check_rate "$from" 5 "the node that is left, without Lua"
no_alarm
all_passed
