#!/bin/sh
# A host dies and comes back, round after round, under two nginx nodes of two
# workers each on one Consul, with load on both. In each round no request may
# fail, the store must be written once, and exactly one host_down and one
# host_up be told in the whole cluster. What brings the host back is the
# host_reviver, error_timeout (3 s) after the last error.
#
#   cluster.sh [ROUNDS]        prints TAP; exit 0 when every point holds
set -eu
rounds=${1:-3}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"
nodes='one two' clients=4

start_consul
put config/host_revive_interval 1
set -- $(free_ports 5)
one=$1 two=$2 b1=$3 b2=$4 b3=$5
start_backends
start_node one 2 lua cluster.conf
start_node two 2 lua cluster.conf

configured() { curl -s -m 5 "$(url one)/configure" | grep -q '^ok$'; }
wait_until 15 configured || bad "the instance cannot be written"
serves() { curl -s -m 5 "$(url "$1")/" | grep -q '^b'; }
wait_until 10 serves one || bad "node one does not serve"
wait_until 10 serves two || bad "node two does not serve"

told() { cat "$work/one.log" "$work/two.log" | grep -c "told: $1 web b1" || :; }
told_is() { [ "$(told "$1")" -ge "$2" ]; }
up_index() { up_entry web | sed -n 's/.*"ModifyIndex":\([0-9]*\).*/\1/p'; }
answered() { # HOST: among thirty requests to each node, well within error_timeout
    for name in one two; do
        asked=$(url "$name") i=0
        while [ "$i" -lt 30 ]; do
            curl -s -m 5 "$asked/"
            i=$((i + 1))
        done | grep -q "^$1\$" || return 1
    done
}

# shellcheck disable=SC2086
load $nodes
for round in $(seq "$rounds"); do
    kill_backend b1
    wait_until 10 is_down web || bad "round $round: the host is not down in the store"
    index=$(up_index)
    wait_until 10 told_is host_down "$round" || bad "round $round: nobody was told"
    ! answered b1 || bad "round $round: the dead host answered"
    [ "$(up_index)" = "$index" ] || bad "round $round: written more than once"
    start_backend b1 "$b1"
    wait_until 10 is_up web || bad "round $round: the host is not up in the store"
    wait_until 10 told_is host_up "$round" || bad "round $round: nobody was told of host_up"
    index=$(up_index)
    wait_until 10 answered b1 || bad "round $round: the host gets no requests"
    [ "$(up_index)" = "$index" ] || bad "round $round: brought back more than once"
    [ "$(told host_down) $(told host_up)" = "$round $round" ] ||
        bad "round $round: host_down $(told host_down) times, host_up $(told host_up)"
    ok "round $round: one host_down, one host_up, written once each"
done
load_was_clean "the whole run"
ok "no request failed: $count"
no_alarm
all_passed
