#!/bin/sh
# CPU of one worker per request: nginx's own proxy_pass, a cosocket written by
# hand, and zedcup.http, all against the same backend, as ratios over
# proxy_pass. Each round runs every case once, and a ratio is the median of the
# ratios within a round, so that a noisy neighbour hits both sides of it; the
# microseconds are those of the best round.
#
#   tests/bench/http_client.sh [ROUNDS [SECONDS]]
#
# Environment: PORT (two loopback ports from here on, default 20900), NGINX,
# MODULES (folder of the ndk and lua modules), CASES (names of locations).
set -eu

rounds=${1:-5} seconds=${2:-8}
port=${PORT:-20900}
nginx=${NGINX:-/usr/sbin/nginx}
modules=${MODULES:-/usr/lib/nginx/modules}
cases=${CASES:-proxy_pass raw_cosocket zedcup_http zedcup_all}
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)

cleanup() {
    for pid in "$dir"/*.pid; do
        [ ! -s "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || :
    done
    sleep 0.3
    rm -rf "$dir"
}
trap cleanup EXIT INT TERM

cat > "$dir/backend.conf" <<END
pid $dir/backend.pid; error_log $dir/backend.log warn; worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 100000000;
    default_type text/plain;
    server {
        listen 127.0.0.1:$((port + 1)) reuseport;
        location / {
            add_header Cache-Control "max-age=60";
            add_header X-Request-Id 0123456789abcdef;
            return 200 "$(printf '%0200d' 0)";
        }
    }
}
END

cat > "$dir/front.conf" <<END
load_module $modules/ndk_http_module.so;
load_module $modules/ngx_http_lua_module.so;
pid $dir/front.pid; error_log $dir/front.log warn; worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 100000000;
    lua_package_path "$top/lua/?.lua;$top/tests/bench/?.lua;;";
    upstream backend { server 127.0.0.1:$((port + 1)); keepalive 64; }
    init_by_lua_block {
        require("resty.core")
        require("http_client_cases").port = $((port + 1))
    }
    server {
        listen 127.0.0.1:$port;
        default_type text/plain;
        location = /proxy_pass {
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://backend;
        }
        location = /raw_cosocket {
            content_by_lua_block { require("http_client_cases").raw_cosocket() }
        }
        location = /raw_receiveany {
            content_by_lua_block { require("http_client_cases").raw_receiveany() }
        }
        location = /zedcup_http {
            content_by_lua_block { require("http_client_cases").zedcup_http() }
        }
        location = /zedcup_all {
            content_by_lua_block { require("http_client_cases").zedcup_all() }
        }
    }
}
END

"$nginx" -p "$dir" -e "$dir/backend.log" -c "$dir/backend.conf"
"$nginx" -p "$dir" -e "$dir/front.log" -c "$dir/front.conf"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -s "$dir/front.pid" ] && worker=$(pgrep -P "$(cat "$dir/front.pid")") && break
    sleep 0.1
done

worker_ticks() { awk '{ print $14 + $15 }' "/proc/$worker/stat"; }

# Runs wrk on one case and prints the worker's CPU in microseconds per request.
measure() {
    before=$(worker_ticks)
    requests=$(wrk -t1 -c16 -d"$2" "http://127.0.0.1:$port/$1" |
        awk '/requests in/ { n = $1 } /Non-2xx|Socket errors/ { bad = 1 }
             END { if (bad) exit 1; print n }')
    after=$(worker_ticks)
    awk -v t=$((after - before)) -v n="$requests" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.3f\n", t * 1000000 / hz / n }'
}

for case in $cases; do
    curl -sf -o /dev/null "http://127.0.0.1:$port/$case" ||
        { echo "$case does not answer:" >&2; cat "$dir/front.log" >&2; exit 1; }
    measure "$case" 1s > /dev/null # let the traces be compiled
done
round=0
while [ "$round" -lt "$rounds" ]; do
    for case in $cases; do measure "$case" "${seconds}s" >> "$dir/$case.us"; done
    round=$((round + 1))
done

# Of the numbers on standard input.
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

printf '%-16s %12s %8s\n' case "us/request" ratio
for case in $cases; do
    best=$(sort -n "$dir/$case.us" | head -n 1)
    ratio=$(paste "$dir/$case.us" "$dir/proxy_pass.us" |
        awk '{ print $1 / $2 }' | median)
    printf '%-16s %12.2f %8.2f\n' "$case" "$best" "$ratio"
done
