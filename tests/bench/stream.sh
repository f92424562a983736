#!/bin/sh
# CPU of one worker per session of nginx's stream proxy: an upstream that is an
# instance over a static one, both of the same three servers; and two methods that
# count sessions, zedcup's and nginx's own. Rounds alternate so that a noisy
# neighbour hits all alike; a figure is the median of its rounds, and so is a
# ratio: of the ratios of each round. A session is a connection with one request
# and a short answer, so nearly all of it is set-up and end.
#
#   stream.sh [ROUNDS [SECONDS]]        CASES="static zedcup" chooses
set -eu
rounds=${1:-20} seconds=${2:-1}
cases=${CASES:-static zedcup static_least zedcup_least}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-bench.XXXXXX")
. "$top/tests/support/nginx.sh"

finish() {
    status=$?
    trap - EXIT INT TERM
    stop_nginx front
    stop_nginx backend
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

set -- $(free_ports 6)
backend=$1 static=$2 zedcup=$3 static_least=$4 zedcup_least=$5 configure=$6
servers() { for i in 1 2 3; do printf "$1" "127.0.0.$i"; done; }

{
    nginx_main backend 1 warn
    say "http {"
    nginx_http backend
    cat <<END
    server {
$(servers "        listen %s:$backend;\n")
        location / { return 200 "$(printf '%0200d' 0)"; }
    }
}
END
} > "$work/backend.conf"

{
    zedcup_main
    zedcup_stream_main
    nginx_main front 1 warn
    say "http {"
    nginx_http front
    zedcup_http
    cat <<END
    init_by_lua_block {
        assert(require("zedcup").init({ embedded = { path = "$work/store.db" } }))
    }
    init_worker_by_lua_block { require("zedcup").run_workers() }
    server {
        listen 127.0.0.1:$configure;
        location / {
            content_by_lua_block {
                local ok, err = require("zedcup").configure_instance("web", { pools = { { hosts = {
                    $(servers "{ host = \"%s\", port = $backend }, ")
                } } } })
                ngx.say(ok and "ok" or err)
            }
        }
    }
}
stream {
    upstream static { $(servers "server %s:$backend; ") }
    upstream static_least { least_conn; $(servers "server %s:$backend; ") }
    upstream zedcup { zedcup web; }
    upstream zedcup_least { zedcup web method=least_conn; }
$(for case in static zedcup static_least zedcup_least; do
    eval "say \"    server { listen 127.0.0.1:\$$case; proxy_pass $case; }\""
done)
}
END
} > "$work/front.conf"

start_nginx backend
start_nginx front
configured() { curl -sf -m 5 "http://127.0.0.1:$configure/" | grep -q '^ok$'; }
wait_until 10 configured || { cat "$work/front.log" >&2; exit 1; }
worker=$(pgrep -P "$(cat "$work/front.pid")")

worker_ticks() { awk '{ print $14 + $15 }' "/proc/$worker/stat"; }

# Runs wrk on one case and prints the worker's CPU in microseconds a session.
measure() { # CASE DURATION
    eval "port=\$$1"
    before=$(worker_ticks)
    sessions=$(wrk -t1 -c16 -d"$2" -H 'Connection: close' "http://127.0.0.1:$port/" |
        awk '/requests in/ { n = $1 } /Non-2xx|Socket errors/ { bad = 1 }
             END { if (bad) exit 1; print n }') ||
        { say "$1: sessions failed" >&2; tail -n 5 "$work/front.log" >&2; exit 1; }
    after=$(worker_ticks)
    awk -v t=$((after - before)) -v n="$sessions" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.3f\n", t * 1000000 / hz / n }'
}

for case in $cases; do measure "$case" 1s > /dev/null; done
round=0
while [ "$round" -lt "$rounds" ]; do
    for case in $cases; do measure "$case" "${seconds}s" >> "$work/$case.us"; done
    round=$((round + 1))
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

say "stream, CPU of one worker"
printf '%-16s %12s\n' case us/session
for case in $cases; do
    printf '%-16s %12.2f\n' "$case" "$(median "$work/$case.us")"
done
compare() { # TEXT CASE BASE
    [ -e "$work/$2.us" ] && [ -e "$work/$3.us" ] || return 0
    paste "$work/$2.us" "$work/$3.us" | awk '{ print $1 / $2 }' > "$work/ratios"
    printf '%-48s %.3f\n' "$1" "$(median "$work/ratios")"
}
compare "zedcup over a static upstream (target <= 1.02)" zedcup static
compare "least_conn: zedcup's over nginx's own" zedcup_least static_least
