#!/bin/sh
# A store that fails in every way known, under load: traffic does not notice,
# the store is not flooded with requests, and what was changed meanwhile is
# served within two seconds of its return. Two workers on a real Consul behind
# tests/support/faulty_store.pl.
#
#   store_faults.sh [SECONDS]          of each fault; prints TAP
set -eu
lasts=${1:-3}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-faults.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

wrk_pid='' proxy_pid=''
finish() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$wrk_pid" ] || kill "$wrk_pid" 2>/dev/null || :
    for name in front b1 b2 b3; do stop_nginx "$name"; done
    [ -z "${consul_pid:-}" ] || kill -s CONT "$consul_pid" 2>/dev/null || :
    stop_consul
    [ -z "$proxy_pid" ] || { pkill -P "$proxy_pid" || :; kill "$proxy_pid" || :; } 2>/dev/null
    [ "$status" -eq 0 ] || tail -n 30 "$work/front.log"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
kv_put() { curl -s -m 5 -X PUT -d "$2" "$consul_url/v1/kv/zedcup/$1" >/dev/null; }
kv_put config/watcher_interval 1
set -- $(free_ports 5)
port=$1 b1=$2 b2=$3 b3=$4 proxy=$5
url=http://127.0.0.1:$port
mode() { say "$1" > "$work/mode.new"; mv "$work/mode.new" "$work/mode"; }
mode pass
perl "$top/tests/support/faulty_store.pl" "$proxy" "$consul_port" "$work/mode" \
    "$work/requests" 2>> "$work/proxy.log" &
proxy_pid=$!
{
    zedcup_main
    nginx_main front 2 notice
    say "http {"
    nginx_http front
    zedcup_http
    sed -e "s|@CONSUL@|$proxy|" -e "s|@PORT@|$port|" -e "s|@B1@|$b1|" \
        -e "s|@B2@|$b2|" -e "s|@B3@|$b3|" "$top/tests/soak/front.conf"
    say "}"
} > "$work/front.conf"
start_backend b1 "$b1"
start_backend b2 "$b2"
start_backend b3 "$b3"
start_nginx front
master=$(cat "$work/front.pid")

configured() { curl -s -m 5 "$url/configure" | grep -q '^ok$'; }
wait_until 15 configured || bad "the instance cannot be written"

# Both workers serve the instance with that text in it.
follows() { # TEXT
    for pid in $(pgrep -P "$master"); do
        i=0
        until curl -s -m 5 "$url/marker" | grep -q "^$pid $1\$"; do
            i=$((i + 1))
            [ "$i" -lt 40 ] || return 1
        done
    done
}
requests() { wc -l < "$work/requests"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

load() {
    wrk -t1 -c4 -d600s -H 'Connection: close' "$url/" > "$work/wrk.out" 2>&1 &
    wrk_pid=$!
}
load_was_clean() { # WHAT
    kill -INT "$wrk_pid"
    wait "$wrk_pid" || :
    wrk_pid=
    if grep -qE 'Non-2xx|Socket errors' "$work/wrk.out"; then
        cat "$work/wrk.out"
        bad "$1: a request failed"
    fi
}

# Changes something behind the store's back and waits for it to be served.
catches_up() { # WHAT
    from=$(now_ms)
    kv_put instances/soak/marker "$number-$1"
    wait_until 20 follows "$number-$1" || bad "$1: changes do not come any more"
    took=$(($(now_ms) - from))
    [ "$took" -le 2000 ] || bad "$1: caught up only after $took ms"
}

# Runs under load: a fault begins, lasts, and ends.
endure() { # WHAT BEGIN END
    load
    before=$(requests)
    $2
    sleep "$lasts"
    rate=$((($(requests) - before) / lasts))
    [ "$rate" -le 20 ] || bad "$1: $rate requests a second to the store"
    $3
    catches_up "$1"
    load_was_clean "$1"
    ok "$1: no request failed, $rate requests a second to the store, caught up after $took ms"
}

catches_up nothing
ok "both workers follow"
before=$(requests)
sleep "$lasts"
rate=$((($(requests) - before) / lasts))
[ "$rate" -le 5 ] || bad "at rest: $rate requests a second to the store"
ok "at rest: $rate requests a second to the store (watcher_interval is 1 s)"

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

if grep -E '\[(alert|emerg|crit)\]' "$work/front.log"; then
    bad "alarms in the error log"
fi
ok "no alarm in the log"
all_passed
