#!/bin/sh
# CPU of one worker per request, as a ratio over nginx's own proxy_pass:
# balancer_by_lua with a fixed peer and with lreu.picker, a cosocket written by
# hand, the HTTP client, handler:request and the native balancer with 3 and with
# 500 hosts, all against the same backend. Rounds alternate so that a noisy
# neighbour hits all alike; a figure is the median of its rounds, and so is a
# ratio: of the ratios of each round.
#
# 500 hosts have 500 connections, each used once in 500 requests: that alone
# costs (cold sockets), also in nginx's own upstream (proxy_500). What the
# number of hosts costs in zedcup shows in handler_500_on_3 and native_500_on_3:
# 500 hosts at the addresses of the 3.
#
#   request.sh [ROUNDS [SECONDS]]        CASES="proxy_pass handler_3" chooses
set -eu
rounds=${1:-5} seconds=${2:-5}
cases=${CASES:-proxy_pass proxy_500 native_3 native_500 native_500_on_3 balancer_none balancer_rr raw_cosocket zedcup_http handler_3 handler_500_on_3 handler_500}
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

set -- $(free_ports 2)
port=$1 backend=$2

# 500 addresses of the loopback network, one port.
addresses() { perl -e 'printf "127.0.%d.%d\n", $_ / 200, $_ % 200 + 1 for 0 .. 499'; }

{
    nginx_main backend 1 warn
    say "http {"
    nginx_http backend
    cat <<END
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    default_type text/plain;
    server {
$(addresses | sed "s/.*/        listen &:$backend;/")
        location / {
            add_header Cache-Control "max-age=60";
            add_header X-Request-Id 0123456789abcdef;
            return 200 "$(printf '%0200d' 0)";
        }
    }
}
END
} > "$work/backend.conf"

{
    zedcup_main
    nginx_main front 1 warn
    say "http {"
    nginx_http front
    zedcup_http
    cat <<END
    keepalive_requests 100000000;
    upstream backend {
$(addresses | head -n 3 | sed "s/.*/        server &:$backend;/")
        keepalive 64;
    }
    upstream backend_500 {
$(addresses | sed "s/.*/        server &:$backend;/")
        keepalive 512;
    }
    lua_shared_dict peers 1m;
    upstream by_lua {
        server 127.0.0.1:1;
        balancer_by_lua_block { require("request_cases").balancer_none() }
        keepalive 64;
    }
    upstream by_picker {
        server 127.0.0.1:1;
        balancer_by_lua_block { require("request_cases").balancer_rr() }
        keepalive 64;
    }
    # the same instances as the handler's
    upstream native_3 { zedcup handler_3; keepalive 64; }
    upstream native_500 { zedcup handler_500; keepalive 512; }
    upstream native_500_on_3 { zedcup handler_500_on_3; keepalive 64; }
    init_by_lua_block {
        assert(require("zedcup").init({ embedded = { path = "$work/store.db" } }))
        require("request_cases").port = $backend
    }
    init_worker_by_lua_block {
        require("zedcup").run_workers()
        require("request_cases").put_peers(ngx.shared.peers)
    }
    server {
        listen 127.0.0.1:$port;
        default_type text/plain;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
$(for case in proxy_pass:backend proxy_500:backend_500 native_3:native_3 \
    native_500:native_500 native_500_on_3:native_500_on_3 \
    balancer_none:by_lua balancer_rr:by_picker; do
    echo "        location = /${case%:*} { proxy_pass http://${case#*:}; }"
done)
        location = /configure { content_by_lua_block { require("request_cases").configure() } }
$(for case in raw_cosocket raw_receiveany zedcup_http zedcup_all handler_3 handler_500 handler_500_on_3; do
    echo "        location = /$case { content_by_lua_block { require('request_cases').$case() } }"
done)
    }
}
END
} > "$work/front.conf"

start_nginx backend
start_nginx front
url=http://127.0.0.1:$port
configured() { curl -sf -m 5 "$url/configure" | grep -q '^ok$'; }
wait_until 10 configured || { cat "$work/front.log" >&2; exit 1; }
worker=$(pgrep -P "$(cat "$work/front.pid")")

worker_ticks() { awk '{ print $14 + $15 }' "/proc/$worker/stat"; }

# Runs wrk on one case and prints the worker's CPU in microseconds a request.
measure() { # CASE DURATION
    before=$(worker_ticks)
    requests=$(wrk -t1 -c16 -d"$2" "$url/$1" |
        awk '/requests in/ { n = $1 } /Non-2xx|Socket errors/ { bad = 1 }
             END { if (bad) exit 1; print n }')
    after=$(worker_ticks)
    awk -v t=$((after - before)) -v n="$requests" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.3f\n", t * 1000000 / hz / n }'
}

for case in $cases; do
    curl -sf -o /dev/null "$url/$case" ||
        { say "$case does not answer:" >&2; cat "$work/front.log" >&2; exit 1; }
    measure "$case" 1s > /dev/null # let the traces be compiled
done
round=0
while [ "$round" -lt "$rounds" ]; do
    for case in $cases; do measure "$case" "${seconds}s" >> "$work/$case.us"; done
    round=$((round + 1))
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

say "request, CPU of one worker      (target: handler over proxy_pass <= 1.5)"
base=$(median "$work/proxy_pass.us")
printf '%-16s %12s %8s\n' case "us/request" ratio
for case in $cases; do
    awk -v name="$case" -v us="$(median "$work/$case.us")" -v base="$base" \
        'BEGIN { printf "%-16s %12.2f %8.2f\n", name, us, us / base }'
done
compare() { # TEXT CASE BASE
    [ -e "$work/$2.us" ] && [ -e "$work/$3.us" ] || return 0
    paste "$work/$2.us" "$work/$3.us" | awk '{ print $1 / $2 }' > "$work/ratios"
    printf '%-48s %.3f\n' "$1" "$(median "$work/ratios")"
}
compare "native over proxy_pass (target <= 1.02)" native_3 proxy_pass
compare "native, 500 hosts, over proxy_500 (target <= 1.02)" native_500 proxy_500
compare "native: 500 hosts over 3, same sockets" native_500_on_3 native_3
compare "picker.rr over proxy_pass (target <= 1.05)" balancer_rr proxy_pass
compare "picker.rr over an empty balancer_by_lua" balancer_rr balancer_none
compare "500 hosts over 3, same sockets (target <= 1.08)" handler_500_on_3 handler_3
compare "500 hosts over 3, 500 sockets" handler_500 handler_3
compare "the same for proxy_pass" proxy_500 proxy_pass
