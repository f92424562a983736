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
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-cluster.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

wrk_pids=
finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $wrk_pids; do kill "$pid" 2>/dev/null || :; done
    for name in one two b1 b2 b3; do stop_nginx "$name"; done
    stop_consul
    [ "$status" -eq 0 ] || tail -n 15 "$work/one.log" "$work/two.log"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
curl -s -m 5 -X PUT -d 1 "$consul_url/v1/kv/zedcup/config/host_revive_interval" > "$work/put"
set -- $(free_ports 5)
one=$1 two=$2 b1=$3 b2=$4 b3=$5
start_node() { # NAME PORT
    {
        zedcup_main
        nginx_main "$1" 2 notice
        say "http {"
        nginx_http "$1"
        zedcup_http
        sed -e "s|@CONSUL@|$consul_port|" -e "s|@PORT@|$2|" -e "s|@B1@|$b1|" \
            -e "s|@B2@|$b2|" -e "s|@B3@|$b3|" "$top/tests/soak/cluster.conf"
        say "}"
    } > "$work/$1.conf"
    start_nginx "$1"
}
start_backend b1 "$b1"
start_backend b2 "$b2"
start_backend b3 "$b3"
start_node one "$one"
start_node two "$two"

configured() { curl -s -m 5 "http://127.0.0.1:$one/configure" | grep -q '^ok$'; }
wait_until 15 configured || bad "the instance cannot be written"
serves() { curl -s -m 5 "http://127.0.0.1:$1/" | grep -q '^b'; }
wait_until 10 serves "$one" || bad "node one does not serve"
wait_until 10 serves "$two" || bad "node two does not serve"

told() { cat "$work/one.log" "$work/two.log" | grep -c "told: $1 web b1" || :; }
told_is() { [ "$(told "$1")" -ge "$2" ]; }
up_entry() { curl -s -m 5 "$consul_url/v1/kv/zedcup/instances/web/pools/1/hosts/1/up"; }
up_index() { up_entry | sed -n 's/.*"ModifyIndex":\([0-9]*\).*/\1/p'; }
# base64 of "false" and "true"
is_down() { up_entry | grep -q '"Flags":1,"Value":"ZmFsc2U="'; }
is_up() { up_entry | grep -q '"Flags":0,"Value":"dHJ1ZQ=="'; }
answered() { # HOST: among thirty requests to each node
    for port in "$one" "$two"; do
        i=0
        while [ "$i" -lt 30 ]; do
            curl -s -m 5 "http://127.0.0.1:$port/"
            i=$((i + 1))
        done | grep -q "^$1\$" || return 1
    done
}

wrk_pids=
for name in one two; do
    eval "port=\$$name"
    wrk -t1 -c4 -d3600s -H 'Connection: close' "http://127.0.0.1:$port/" \
        > "$work/wrk.$name" 2>&1 &
    wrk_pids="$wrk_pids $!"
done

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    kill_backend b1
    wait_until 10 is_down || bad "round $round: the host is not down in the store"
    index=$(up_index)
    wait_until 10 told_is host_down "$round" || bad "round $round: nobody was told"
    ! answered b1 || bad "round $round: the dead host answered"
    [ "$(up_index)" = "$index" ] || bad "round $round: written more than once"
    start_backend b1 "$b1"
    wait_until 10 is_up || bad "round $round: the host is not up in the store"
    wait_until 10 told_is host_up "$round" || bad "round $round: nobody was told of host_up"
    index=$(up_index)
    wait_until 10 answered b1 || bad "round $round: the host gets no requests"
    [ "$(up_index)" = "$index" ] || bad "round $round: brought back more than once"
    [ "$(told host_down) $(told host_up)" = "$round $round" ] ||
        bad "round $round: host_down $(told host_down) times, host_up $(told host_up)"
    ok "round $round: one host_down, one host_up, written once each"
done

kill -INT $wrk_pids
for pid in $wrk_pids; do wait "$pid" || :; done
wrk_pids=
if grep -E 'Non-2xx|Socket errors' "$work/wrk.one" "$work/wrk.two"; then
    bad "a request failed"
fi
ok "no request failed: $(cat "$work/wrk.one" "$work/wrk.two" | awk '/requests in/ { n += $1 } END { print n }')"
if grep -hE '\[(alert|emerg|crit)\]|signal (6|11)' "$work/one.log" "$work/two.log"; then
    bad "alarms in the error log"
fi
ok "no alarm in the log"
all_passed
