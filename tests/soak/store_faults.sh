#!/bin/sh
# A store that fails in every way known, under load: traffic does not notice,
# the store is not flooded with requests, and what was changed meanwhile is
# served within two seconds of its return. Two nodes of two workers, one of them
# without Lua, each on a real Consul behind a tests/support/faulty_store.pl of
# its own: so that requests to the store are counted a node.
#
#   store_faults.sh [SECONDS]          of each fault; prints TAP
set -eu
lasts=${1:-3}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"
nodes='front plain' clients=2

start_consul
put config/watcher_interval 1
set -- $(free_ports 7)
front=$1 plain=$2 b1=$3 b2=$4 b3=$5
mode() { say "$1" > "$work/mode.new"; mv "$work/mode.new" "$work/mode"; }
start_proxy() { # NODE PORT
    perl "$top/tests/support/faulty_store.pl" "$2" "$consul_port" "$work/mode" \
        "$work/requests.$1" 2>> "$work/proxy.log" &
    helpers="$helpers $!"
}
mode pass
start_proxy front "$6"
start_proxy plain "$7"
start_backends
put_backends soak
start_node front 2 lua front.conf "$6"
start_node plain 2 plain plain.conf "$7"

requests() { wc -l < "$work/requests.$1"; }
# Requests a second of the busier node over that time; all but a few are bad.
count_requests() { for name in $nodes; do eval "before_$name=\$(requests $name)"; done; }
check_requests() { # MOST WHAT
    rates=
    for name in $nodes; do
        eval "rate=\$((($(requests "$name") - before_$name) / lasts))"
        [ "$rate" -le "$1" ] || bad "$2: $rate requests a second from $name to the store"
        rates="$rates$rate "
    done
}

# Changes something behind the store's back and waits for it to be served.
catches_up() { # WHAT
    from=$(now_ms)
    put_marker "$number-$1"
    for name in $nodes; do
        wait_until 20 ask_around "$name" "$number-$1" || bad "$1: changes do not come to $name any more"
    done
    took=$(($(now_ms) - from))
    [ "$took" -le 2000 ] || bad "$1: caught up only after $took ms"
}

# Runs under load: a fault begins, lasts, and ends.
endure() { # WHAT BEGIN END
    # shellcheck disable=SC2086
    load $nodes
    count_requests
    $2
    sleep "$lasts"
    check_requests 20 "$1"
    $3
    catches_up "$1"
    load_was_clean "$1"
    ok "$1: no request failed, $rates(a node) requests a second to the store, caught up after $took ms"
}

catches_up nothing
ok "all four workers follow"
count_requests
sleep "$lasts"
check_requests 5 "at rest"
ok "at rest: $rates(a node) requests a second to the store (watcher_interval is 1 s)"

for fault in error garbage html empty trickle hang; do
    endure "$fault" "mode $fault" "mode pass"
done
# the dead connections stay dead: new ones must take their place
endure lost "mode lost" :
mode pass
freeze() { kill -s STOP "$consul_pid"; }
thaw() { kill -s CONT "$consul_pid"; }
endure frozen freeze thaw
die() { kill -s KILL "$consul_pid"; wait "$consul_pid" 2>/dev/null || :; }
endure killed die start_consul_again
no_alarm
all_passed
