#!/bin/sh
# Health checks of 2,000 hosts every 5 s by one worker, on a real Consul: how
# punctual they are, what they cost, and what requests notice of them.
#
#   health.sh [SECONDS] [ROUNDS]
#
# The hosts are 200 addresses of 127/8 with ten ports each, all of one nginx,
# which notes the probes. Punctuality is the time between two probes of a host
# beyond 5 s; up to 0.25 s of it is jitter, and meant. CPU is that of the
# worker's threads other than nginx's own, while requests rest. Requests go
# through handler:request to one backend; rounds with and without checks
# alternate, and the figures are medians.
set -eu
seconds=${1:-20} rounds=${2:-5}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-bench.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"

finish() {
    status=$?
    trap - EXIT INT TERM
    for name in front hosts b1; do stop_nginx "$name"; done
    stop_consul
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_consul
set -- $(free_ports 12)
port=$1 b1=$2
shift 2
ports=$*
start_backend b1 "$b1"
{
    nginx_main hosts 1 error
    say "http {"
    nginx_http hosts
    say 'log_format probe "$msec $server_addr:$server_port";'
    say "server { access_log $work/probes probe buffer=64k flush=1s;"
    for one in $ports; do say "    listen $one backlog=4096;"; done
    say "    location / { return 200; } } }"
} > "$work/hosts.conf"
start_nginx hosts
{
    zedcup_main
    nginx_main front 1 warn
    say "http {"
    nginx_http front
    zedcup_http
    cat <<END
    init_by_lua_block {
        assert(require("zedcup").init({ consul = { port = $consul_port } }))
    }
    init_worker_by_lua_block { require("zedcup").run_workers() }
    server {
        listen 127.0.0.1:$port;
        location = /configure {
            content_by_lua_block {
                local zedcup = require("zedcup")
                local hosts = {}
                for port in ("$ports"):gmatch("%d+") do
                    for i = 1, 200 do
                        hosts[#hosts + 1] = { host = "127.0.1." .. i, port = tonumber(port) }
                    end
                end
                local check = ngx.var.arg_on == "1" and { interval = 5 }
                local ok, err = zedcup.configure_instance("big", {
                    healthcheck = check, pools = { { hosts = hosts } } })
                if ok then
                    ok, err = zedcup.configure_instance("web", {
                        pools = { { hosts = { { host = "127.0.0.1", port = $b1 } } } } })
                end
                ngx.say(ok and "ok" or err)
            }
        }
        location / {
            content_by_lua_block {
                local handler = assert(require("zedcup").create_handler("web"))
                local res = assert(handler:request({ path = "/" }))
                ngx.print(res:read_body())
                handler:set_keepalive()
            }
        }
    }
}
END
} > "$work/front.conf"
start_nginx front
worker=$(pgrep -P "$(cat "$work/front.pid")")

configured() { [ "$(curl -s -m 60 "http://127.0.0.1:$port/configure?on=$1")" = ok ]; }
checks() { wait_until 30 configured "$1" || { cat "$work/front.log" >&2; exit 1; }; }
# Jiffies of the threads but the first.
thread_time() {
    for task in /proc/"$worker"/task/*; do
        [ "${task##*/}" = "$worker" ] ||
            awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "$task/stat"
    done | awk '{ n += $1 } END { print n }'
}
probes() { wc -l < "$work/probes"; }
all_probed() { [ "$(sort -u -k2,2 "$work/probes" | wc -l)" -eq 2000 ]; }

say "health checks: 2,000 hosts, every 5 s, one worker"
checks 1
wait_until 30 all_probed || { cat "$work/front.log" >&2; exit 1; }
before=$(thread_time) count=$(probes)
sleep "$seconds" # what is measured is a rate
after=$(thread_time)
awk -v ticks="$((after - before))" -v hz="$(getconf CLK_TCK)" -v span="$seconds" \
    -v count="$(($(probes) - count))" 'BEGIN {
        printf "probes a second              %8.1f\n", count / span
        printf "CPU of the threads, %% of one %8.1f   (target: <= 25)\n", 100 * ticks / hz / span }'
sort -s -k2,2 "$work/probes" |
    awk '$2 == last { d = $1 - t - 5; print d < 0 ? 0 : d } { last = $2; t = $1 }' |
    sort -n | awk '{ v[NR] = $1 }
        END { printf "late, seconds: p50 p99 max    %.3f %.3f %.3f   (target: p99 <= 0.5)\n",
                  v[int(NR / 2) + 1], v[int(NR * 0.99)], v[NR] }'

# Microseconds: p99 of one round, at some 1,500 requests a second: a machine
# at its limit would show the load of the 2,000 hosts, which live here too.
echo 'function delay() return 5 end' > "$work/pace.lua"
p99() {
    wrk -t1 -c8 -d4s --latency -s "$work/pace.lua" "http://127.0.0.1:$port/" |
        awk '$1 == "99%" { n = $2 + 0; if ($2 ~ /ms$/) n *= 1000
                           else if ($2 !~ /us$/) n *= 1000000; print int(n) }'
}
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    checks 0
    p99 > /dev/null # warm, and the last probes are over
    p99 >> "$work/without"
    checks 1
    p99 > /dev/null
    p99 >> "$work/with"
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
awk -v with="$(median "$work/with")" -v without="$(median "$work/without")" 'BEGIN {
    printf "request p99, microseconds    %8d without, %d with: %+.0f %%   (target: <= +10)\n",
        without, with, 100 * (with / without - 1) }'
