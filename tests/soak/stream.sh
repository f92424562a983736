#!/bin/sh
# Stream upstreams in an nginx without Lua, on a real Consul, under load: one of
# three backends is killed and started again, nginx reloads. A session that is
# connected cannot be moved, so those that a killed backend held are lost; no
# other may be.
#
#   stream.sh [ROUNDS]         prints TAP; exit 0 when every point holds
#
# wrk closes each connection after its request: a session each.
set -eu
rounds=${1:-2}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"

start_consul
set -- $(free_ports 4)
front=$1 b1=$2 b2=$3 b3=$4
put config/host_revive_interval 1
put instances/web/pools/1/error_timeout 1
start_backends
put_backends web
{
    zedcup_main | tail -n 1
    zedcup_stream_main
    nginx_main front 2 crit # a line for each refused connection is too much
    cat <<END
http {
$(nginx_http front)
    zedcup_store consul://127.0.0.1:$consul_port/zedcup;
}
stream {
    log_format tries '\$status \$upstream_bytes_received \$upstream_addr';
    access_log $work/tries.log tries;
    upstream app { zedcup web; }
    server { listen 127.0.0.1:$front; proxy_pass app; }
}
END
} > "$work/front.conf"
start_nginx front

all_answer() { answer front "b1 b2 b3"; }
# No session went without a host, and those that came to nothing were connected to
# b1: nginx's own log of the tries. (What wrk has open when it ends, nginx cuts.)
sessions_were_served() { # WHAT
    ! grep -v '^200 ' "$work/tries.log" | head -n 3 | grep . ||
        bad "$1: a session found no host"
    ! awk '$2 == "0" || $2 == "-"' "$work/tries.log" | grep -v "127.0.0.1:$b1\$" |
        tail -n +$((clients + 1)) | grep . || bad "$1: sessions of other hosts were lost"
}

wait_until 10 all_answer || bad "three hosts should answer: $(answering front)"
ok "three hosts answer, without Lua"

: > "$work/tries.log"
load front
for round in $(seq "$rounds"); do
    kill_backend b1
    wait_until 10 is_down web || bad "round $round: the host is not down in the store"
    answer front "b2 b3" || bad "round $round: not the other two answer: $(answering front)"
    start_backend b1 "$b1"
    wait_until 10 all_answer || bad "round $round: the host does not come back: $(answering front)"
done
end_load "a backend killed"
sessions_were_served "a backend killed"
[ "$failed" -le $((clients * rounds)) ] ||
    bad "$failed sessions failed, more than the killed backend held"
went_on=$(grep -c "127.0.0.1:$b1, " "$work/tries.log") || :
[ "$went_on" -gt 0 ] || bad "no session went on to another host"
ok "a backend killed and started again, $rounds times: $count sessions, $went_on went on to another host, $failed lost with the backend"

: > "$work/tries.log"
load front
for round in $(seq "$rounds"); do
    reload front
    all_answer || bad "reload $round: not all three answer: $(answering front)"
done
load_was_clean "$rounds reloads"
sessions_were_served "$rounds reloads"
ok "$rounds reloads: $count sessions, none failed"
quits front
all_passed
