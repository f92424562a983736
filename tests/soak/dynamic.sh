#!/bin/sh
# An upstream zone is edited every 10 ms by ngx.dynamic, under load from clients
# that stay and as many that go away in the middle of an answer; the backends
# are slow, connections are kept, the access log reads the address of a peer
# after everything else. No request may fail, no worker end, and at the end the
# zone must be as it began: no connections counted, no memory more in use.
#
#   dynamic.sh [SECONDS] [METHOD]     METHOD: a line of the upstream, "random;"
#                                     prints TAP; exit 0 when every point holds
set -eu
seconds=${1:-8}
method=${2:-}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"

set -- $(free_ports 5)
front=$1 b1=$2 b2=$3 b3=$4 b4=$5

{
    zedcup_main | head -n 2
    nginx_main back 1
    say "http {"
    nginx_http back
    say "server {"
    for port in "$b1" "$b2" "$b3" "$b4"; do
        say "listen 127.0.0.1:$port;"
    done
    cat <<'END'
        location / {
            content_by_lua_block {
                ngx.sleep(math.random() * 0.03)
                ngx.print(("x"):rep(2000))
                ngx.flush(true)
                ngx.sleep(math.random() * 0.03)
                ngx.say("end")
            }
        }
    }
}
END
} > "$work/back.conf"
{
    zedcup_main
    nginx_main front 2
    say "http {"
    nginx_http front | grep -v access_log
    sed -e "s|@WORK@|$work|" -e "s|@TOP@|$top|" -e "s|@PORT@|$front|" \
        -e "s|@METHOD@|$method|" -e "s|@B1@|$b1|" -e "s|@B2@|$b2|" \
        -e "s|@B3@|$b3|" -e "s|@B4@|$b4|" "$top/tests/soak/dynamic.conf"
    say "}"
} > "$work/front.conf"
ZEDCUP_PRELOAD= start_nginx back
start_nginx front

url=$(url front)
serves() { curl -s -m 5 "$url/" | grep -q end; }
wait_until 10 serves || bad "nginx does not serve"
ok "it serves"

# what the zone uses once every kind of peer has been there
edit() { curl -s -m $(($1 + 30)) "$url/edit?seconds=$1"; }
edit 1 > "$work/edits"
use() { curl -s -m 5 "$url/use"; }
quiet() { use | grep -q '^0 0 '; }
wait_until 15 quiet || bad "the zone does not come to rest: $(use)"
before=$(use)

# clients that leave: 4 processes, until they are ended
leave='
    use IO::Socket::INET; use Time::HiRes "sleep";
    while (1) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0])
            or next;
        print $s "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        sleep rand 0.05;
        close $s;
    }'
for _ in 1 2 3 4; do
    setpriv --pdeathsig KILL perl -e "$leave" "$front" & helpers="$helpers $!"
done
wrk -t 2 -c 4 -d "${seconds}s" --timeout 10s "$url/" > "$work/wrk" & wrk=$!
load_pids=$wrk
edit "$seconds" > "$work/edits"
wait "$wrk" || bad "wrk failed"
# shellcheck disable=SC2086
kill $helpers
helpers='' load_pids=''

grep -q '^edits' "$work/edits" || bad "an edit failed: $(cat "$work/edits")"
ok "$(cat "$work/edits") in $seconds s"
! grep -E 'Non-2xx|Socket errors' "$work/wrk" || bad "requests failed"
ok "no request failed:$(sed -n 's/requests in.*/ requests/p' "$work/wrk")"
awk '$1 != 200 && $1 != 499 { bad = 1; print } END { exit bad }' \
    "$work/access.log" || bad "an answer was not good"
ok "$(grep -c '^499' "$work/access.log") clients left early, all others got 200"
! grep -E 'exited on signal|AddressSanitizer|\[(alert|emerg|crit)\]' \
    "$work/front.log" || bad "a worker ended"
ok "no worker ended"
wait_until 15 quiet || bad "connections or removed peers are left: $(use)"
[ "$(use)" = "$before" ] || bad "the zone was \"$before\", is \"$(use)\""
ok "conns 0, removed peers 0, and the zone as before ($before)"
curl -s -m 300 "$url/rounds?n=$((seconds * 2000))" | grep -q '^ok$' ||
    bad "a round failed"
[ "$(use)" = "$before" ] || bad "the zone was \"$before\", is \"$(use)\""
ok "as before after $((seconds * 2000)) rounds of add and remove"
all_passed
