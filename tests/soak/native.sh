#!/bin/sh
# The native balancer in an nginx without Lua, on a real Consul, under load: one
# of three backends is killed and started again, workers are killed, nginx
# reloads. No request may fail but those that a killed worker held.
#
#   native.sh [ROUNDS]         prints TAP; exit 0 when every point holds
#
# wrk closes each connection after its request, for the reason that soak.sh
# gives; connections to the backends are kept.
set -eu
rounds=${1:-3}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-native.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

clients=8
wrk_pid=
finish() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$wrk_pid" ] || kill "$wrk_pid" 2>/dev/null || :
    for name in front b1 b2 b3; do stop_nginx "$name"; done
    stop_consul
    [ "$status" -eq 0 ] || tail -n 15 "$work/front.log"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
set -- $(free_ports 4)
port=$1 b1=$2 b2=$3 b3=$4
url=http://127.0.0.1:$port
put() { curl -sf -m 5 -X PUT -d "$2" "$consul_url/v1/kv/zedcup/$1" > /dev/null; }
put config/host_revive_interval 1
put instances/web/pools/1/error_timeout 1
for i in 1 2 3; do
    eval "start_backend b$i \$b$i; put instances/web/pools/1/hosts/$i/port \$b$i"
    put "instances/web/pools/1/hosts/$i/host" 127.0.0.1
done
{
    zedcup_main | tail -n 1
    nginx_main front 2 notice
    say "http {"
    nginx_http front
    cat <<END
    zedcup_store consul://127.0.0.1:$consul_port/zedcup;
    upstream app { zedcup web; keepalive 16; }
    server {
        listen 127.0.0.1:$port;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / { proxy_pass http://app; }
    }
}
END
} > "$work/front.conf"
start_nginx front
master=$(cat "$work/front.pid")
workers() { pgrep -P "$master" | sort -n; }
two_workers() { [ "$(workers | wc -l)" -eq 2 ]; }

# Who answers sixty requests, or whatever status came instead, sorted.
answering() {
    i=0
    while [ "$i" -lt 60 ]; do
        curl -s -m 5 -w '%{http_code}\n' "$url/" | grep -vx 200 || :
        i=$((i + 1))
    done | grep -v '^<\|^$' | sort -u | tr '\n' ' '
}
answer() { [ "$(answering)" = "$1 " ]; } # NAMES
all_answer() { answer "b1 b2 b3"; }
up_entry() { curl -s -m 5 "$consul_url/v1/kv/zedcup/instances/web/pools/1/hosts/1/up"; }
# base64 of "false", written by zedcup
is_down() { up_entry | grep -q '"Flags":1,"Value":"ZmFsc2U="'; }

load() {
    wrk -t1 -c$clients -d600s -H 'Connection: close' "$url/" > "$work/wrk.out" 2>&1 &
    wrk_pid=$!
}
end_load() {
    kill -INT "$wrk_pid"
    wait "$wrk_pid" || :
    wrk_pid=
    count=$(awk '/requests in/ { print $1 }' "$work/wrk.out")
    [ "${count:-0}" -gt 100 ] || bad "wrk made no requests: $(cat "$work/wrk.out")"
    ! grep 'Non-2xx' "$work/wrk.out" || bad "$1: an answer was an error"
}
load_was_clean() { # WHAT
    end_load "$1"
    ! grep 'Socket errors' "$work/wrk.out" || bad "$1: a request failed"
    ok "$1: $count requests, none failed"
}

wait_until 10 all_answer || bad "three hosts should answer: $(answering)"
ok "three hosts answer, without Lua"

load
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    kill_backend b1
    wait_until 10 is_down || bad "round $round: the host is not down in the store"
    answer "b2 b3" || bad "round $round: not the other two answer: $(answering)"
    start_backend b1 "$b1"
    wait_until 10 all_answer || bad "round $round: the host does not come back: $(answering)"
done
load_was_clean "a backend killed and started again, $rounds times"

load
round=0
while [ "$round" -lt "$rounds" ]; do
    kill -HUP "$master"
    round=$((round + 1))
    reloaded() { [ "$(grep -c reconfiguring "$work/front.log")" -ge "$round" ] && two_workers; }
    wait_until 20 reloaded || bad "reload $round is not over"
    all_answer || bad "reload $round: not all three answer: $(answering)"
done
kill_backend b1
kill -HUP "$master"
round=$((round + 1))
wait_until 20 reloaded || bad "the reload beside a dead backend is not over"
wait_until 10 is_down || bad "the host is not down in the store"
start_backend b1 "$b1"
wait_until 10 all_answer || bad "the host does not come back after a reload: $(answering)"
load_was_clean "$round reloads, the last beside a dead backend"

load
killed=0
for pid in $(workers); do
    kill -KILL "$pid"
    killed=$((killed + 1))
    wait_until 5 gone "$pid"
    wait_until 5 two_workers || bad "the killed worker is not replaced"
    wait_until 10 all_answer || bad "not all three answer after a killed worker: $(answering)"
done
end_load "workers killed"
failed=$(awk '/Socket errors/ { gsub(",", ""); print $4 + $6 + $8 + $10 }' "$work/wrk.out")
[ "${failed:-0}" -le $((clients * killed)) ] ||
    { cat "$work/wrk.out"; bad "$failed requests failed, more than the killed workers held"; }
ok "$killed workers killed: their own connections were lost (${failed:-0} of $count requests)"

kill -QUIT "$master"
wait_until 10 gone "$master" || bad "nginx does not quit"
if grep -E '\[(alert|emerg|crit)\]|signal (6|11)' "$work/front.log" |
    grep -v 'exited on signal 9'; then
    bad "alarms in the error log"
fi
ok "a graceful end, no alarm in the log"
all_passed
