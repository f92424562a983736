#!/bin/sh
# The native balancer in an nginx without Lua, on a real Consul, under load: one
# of three backends is killed and started again, nginx reloads, its leading
# worker is killed, the store stops. No request may fail but those that a killed
# worker held.
#
#   native.sh [RELOADS] [ROUNDS]       prints TAP; exit 0 when every point holds
#
# Connections to the backends are kept.
set -eu
reloads=${1:-10} rounds=${2:-3}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"
. "$top/tests/support/probed.sh"

start_consul
set -- $(free_ports 5)
front=$1 b1=$2 b2=$3 b3=$4
serve_probed "$5"
put config/host_revive_interval 1
put instances/soak/pools/1/error_timeout 1
start_backends
put_backends soak
put_crowd
start_node front 4 plain plain.conf

all_answer() { answer front "b1 b2 b3"; }
comes_back() { # WHEN
    start_backend b1 "$b1"
    wait_until 10 all_answer || bad "$1: the host does not come back: $(answering front)"
}

wait_until 10 all_answer || bad "three hosts should answer: $(answering front)"
follows first || bad "not every worker follows"
ok "three hosts answer, four workers follow, without Lua"

# ---- a backend dies ----
load front
for round in $(seq "$rounds"); do
    kill_backend b1
    wait_until 10 is_down soak || bad "round $round: the host is not down in the store"
    answer front "b2 b3" || bad "round $round: not the other two answer: $(answering front)"
    comes_back "round $round"
done
load_was_clean "a backend killed"
ok "a backend killed and started again, $rounds times: $count requests, none failed"

# ---- reloads ----
reload_under_load front "$reloads"
all_answer || bad "after the reloads not all three answer: $(answering front)"
load front
kill_backend b1
reload front
wait_until 10 is_down soak || bad "the host is not down in the store"
comes_back "after a reload"
load_was_clean "a reload beside a dead backend"
ok "a reload beside a dead backend: $count requests, none failed"

# ---- the leader dies, which is also who probes ----
probes_move() { # MS
    # what it had under way does not count
    died=$(awk -v ms="$1" 'BEGIN { printf "%.3f", ms / 1000 + 0.01 }')
    probed() { [ "$(first_after "$died")" != 999.00 ]; }
    wait_until 5 probed || bad "nobody probes after the leader was killed"
    first=$(first_after "$died")
    within "$first" 0 1 || bad "the next probe came only after $first s"
    ok "leader killed: the next probe came after $first s"
}
kill_leaders front 3 probes_move
store_stops front
quits front
all_passed
