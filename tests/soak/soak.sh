#!/bin/sh
# What must hold under load while things break: reloads, a killed leader, a
# stopped store. Four workers on a real Consul, wrk in front, three backends.
#
#   soak.sh [RELOADS]          prints TAP; exit 0 when every point holds
#
# wrk closes each connection after its request: nginx itself cuts idle
# keepalive connections when a worker leaves, which a client may run into.
set -eu
reloads=${1:-20}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-soak.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

wrk_pid=
finish() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$wrk_pid" ] || kill "$wrk_pid" 2>/dev/null || :
    for name in front b1 b2 b3; do stop_nginx "$name"; done
    stop_consul
    [ "$status" -eq 0 ] || tail -n 30 "$work/front.log"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
set -- $(free_ports 4)
port=$1 b1=$2 b2=$3 b3=$4
url=http://127.0.0.1:$port
{
    zedcup_main
    nginx_main front 4 notice
    say "http {"
    nginx_http front
    zedcup_http
    sed -e "s|@CONSUL@|$consul_port|" -e "s|@PORT@|$port|" -e "s|@B1@|$b1|" \
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

workers() { pgrep -P "$master" | sort -n; }
threads() { for pid in $(workers); do ls "/proc/$pid/task" 2>/dev/null | wc -l; done | sort -u | tr '\n' ' '; }
memory_kb() { # the most that the master or a worker has of its own
    for pid in $master $(workers); do awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null; done |
        sort -n | tail -n 1
}
four_workers() { [ "$(workers | wc -l)" -eq 4 ]; }
kv_put() { curl -s -m 5 -X PUT -d "$2" "$consul_url/v1/kv/zedcup/instances/soak/$1" >/dev/null; }

# Which process leads, by the last of them that said so and is alive.
leader() {
    sed -n 's/.*\[notice\] \([0-9]*\)#.*this worker follows.*/\1/p' "$work/front.log" |
        tail -n 1
}

# Asks until each of the four present workers has answered with that text.
everybody_says() { # TEXT
    for pid in $(workers); do
        grep -q "^$pid $1\$" "$work/said" 2>/dev/null || return 1
    done
}
ask_around() { # TEXT
    i=0
    : > "$work/said"
    while [ "$i" -lt 400 ]; do
        curl -s -m 5 "$url/marker" >> "$work/said"
        i=$((i + 1))
        [ $((i % 20)) -ne 0 ] || ! everybody_says "$1" || return 0
    done
    return 1
}
follows() { # MARKER
    kv_put marker "$1"
    wait_until 10 ask_around "$1"
}

load() { # SECONDS
    wrk -t1 -c8 -d"$1" -H 'Connection: close' "$url/" > "$work/wrk.out" 2>&1 &
    wrk_pid=$!
}
load_was_clean() { # WHAT
    wait "$wrk_pid" || :
    wrk_pid=
    if grep -qE 'Non-2xx|Socket errors' "$work/wrk.out"; then
        cat "$work/wrk.out"
        bad "$1: a request failed"
    fi
    ok "$1: $(awk '/requests in/ { print $1 }' "$work/wrk.out") requests, none failed"
}
no_alarm() { # WHAT
    if grep -E '\[(alert|emerg|crit)\]|signal (6|11)|core dumped' "$work/front.log" |
        grep -v 'exited on signal 9'; then
        bad "$1: alarms in the error log"
    fi
}

follows first || bad "not every worker follows"
ok "four workers follow"

# ---- a large instance: more than one transaction of the store ----
set -- $(curl -s -m 10 "$url/big?hosts=500")
[ "$1" = 500 ] || bad "500 hosts in one call: $*"
[ "${2%.*}" -le 1000 ] || bad "500 hosts serve only after $2 ms"
ok "500 hosts in one call, the first request answered after ${2%.*} ms"
set -- $(curl -s -m 10 "$url/big?hosts=2")
[ "$1" = 2 ] || bad "rewritten to 2 hosts: $*"
keys=$(curl -s "$consul_url/v1/kv/zedcup/instances/big/?keys" | grep -o '"zedcup[^"]*"' | wc -l)
[ "$keys" -eq 8 ] || bad "rewritten to 2 hosts of 4 keys: $keys keys are left"
ok "rewritten to 2 hosts: 2 hosts, 8 keys"

# ---- reloads ----
threads_before=$(threads)
load 600s
generation() { [ "$(grep -c 'reconfiguring' "$work/front.log")" -ge "$1" ] && four_workers; }
count=0
while [ "$count" -lt "$reloads" ]; do
    count=$((count + 1))
    kill -HUP "$master"
    wait_until 20 generation "$count" || bad "reload $count is not over"
    [ "$count" -ne 3 ] || memory_before=$(memory_kb)
done
kill -INT "$wrk_pid"
load_was_clean "$reloads reloads"
no_alarm "$reloads reloads"
steady() { [ "$(threads)" = "$threads_before" ]; }
wait_until 5 steady || bad "threads: $threads_before before, $(threads) now"
memory_after=$(memory_kb)
# (a sanitizer keeps what was freed)
[ -n "${ZEDCUP_PRELOAD:-}" ] || [ "$memory_after" -lt $((memory_before + 4096)) ] ||
    bad "memory of a process: $memory_before kB, then $memory_after kB"
ok "threads ($threads_before) and memory ($memory_before kB, $memory_after kB) are steady"
follows reloaded || bad "changes do not come any more"
ok "every worker follows after the reloads"

# ---- the leader dies ----
load 600s
for round in 1 2 3; do
    old=$(leader)
    kill -KILL "$old"
    killed=$(date +%s%N)
    another() { now=$(leader); [ "$now" != "$old" ] && ! gone "$now"; }
    wait_until 5 another || bad "nobody leads after $old was killed"
    took=$((($(date +%s%N) - killed) / 1000000))
    [ "$took" -le 1000 ] || bad "another worker leads only after $took ms"
    wait_until 5 four_workers || bad "the killed worker is not replaced"
    follows "killed-$round" || bad "changes do not come after a killed leader"
    ok "leader killed: another leads after $took ms, changes keep coming"
done
kill -INT "$wrk_pid"
wait "$wrk_pid" || :
# the killed worker's own connections are lost with it: at most eight a kill
failed=$(awk '/Socket errors/ { gsub(",", ""); print $4 + $6 + $8 + $10 }' "$work/wrk.out")
wrk_pid=
[ "${failed:-0}" -le 24 ] || { cat "$work/wrk.out"; bad "$failed requests failed, more than the killed workers held"; }
grep -q 'Non-2xx' "$work/wrk.out" && bad "an answer was an error"
ok "only the killed workers' own connections were lost (${failed:-0})"

# ---- the store stops ----
load 600s
stop_consul
wait_until 5 grep -q 'trying again' "$work/front.log" || bad "the lost store is not reported"
kill -HUP "$master"
wait_until 20 four_workers
start_consul_again
follows back || bad "changes do not come after the store's return"
kill -INT "$wrk_pid"
load_was_clean "the store stopped, a reload meanwhile, and back"

kill -QUIT "$master"
wait_until 10 gone "$master" || bad "nginx does not quit"
no_alarm "the whole run"
ok "a graceful end, no alarm in the log"
all_passed
