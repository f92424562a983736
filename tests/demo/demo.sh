#!/bin/sh
# The main job in front of your eyes: two nginx workers, the embedded store,
# four small backends in two pools. With --check the same unattended.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
port=${PORT:-8080}
check=
[ "${1:-}" != --check ] || check=yes

work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-demo.XXXXXX")
. "$top/tests/support/nginx.sh"

if [ -n "$check" ] && [ -z "${PORT:-}" ]; then
    port=$(free_ports 1)
fi
if ! port_is_free "$port"; then
    rm -rf "$work"
    say "demo: port $port is busy; choose another: PORT=8081 ./dev demo" >&2
    exit 1
fi

tail_pid=
finish() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$tail_pid" ] || kill "$tail_pid" 2>/dev/null || :
    for name in front web01 web02 dr01 dr02; do
        stop_nginx "$name"
    done
    if [ "$status" -ne 0 ] && [ -n "$check" ] && [ -e "$work/front.log" ]; then
        say "--- the end of nginx's error log"
        tail -n 20 "$work/front.log"
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

set -- $(free_ports 4)
web01=$1 web02=$2 dr01=$3 dr02=$4

{
    zedcup_main
    nginx_main front 2
    say "http {"
    nginx_http front
    zedcup_http
    sed -e "s|@TOP@|$top|g" -e "s|@WORK@|$work|g" -e "s|@PORT@|$port|g" \
        -e "s|@WEB01@|$web01|g" -e "s|@WEB02@|$web02|g" \
        -e "s|@DR01@|$dr01|g" -e "s|@DR02@|$dr02|g" \
        "$top/tests/demo/front.conf"
    say "}"
} > "$work/front.conf"

start_backend web01 "$web01"
start_backend web02 "$web02"
start_backend dr01 "$dr01"
start_backend dr02 "$dr02"
start_nginx front

url=http://127.0.0.1:$port
get() { curl -sS -m 10 "$url$1"; }

ready() { get / >/dev/null 2>&1; }
wait_until 10 ready || { say "demo: nginx does not answer" >&2; exit 1; }
get /_configure | grep -q '^ok$' || {
    say "demo: the instance could not be written:" >&2
    get /_configure >&2
    exit 1
}

if [ -n "$check" ]; then
    . "$top/tests/demo/check.sh"
    exit 0
fi

cat <<END
zedcup serves the instance "demo" at $url/

  pool "primary"    web01 127.0.0.1:$web01   web02 127.0.0.1:$web02
  pool "secondary"  dr01  127.0.0.1:$dr01   dr02  127.0.0.1:$dr02

Try, from another terminal:
  curl $url/                            a request; again: the next host
  curl $url/_show                       the configuration as handlers see it
  kill \$(cat $work/web01.pid)          stop a backend: requests go on
  curl '$url/_set?host=web02&up=false'  drain a host
  curl '$url/_set?host=web02&up=true&weight=3'   bring it back with more weight
  nginx -p $work -e $work/web01.log -c $work/web01.conf    start web01 again:
                                        two good health checks bring it back

Events as they happen (Ctrl-C ends everything):
END
tail -n 0 -F "$work/front.log" 2>/dev/null | sed -un 's/.*\(event: [^,]*\).*/  \1/p' &
tail_pid=$!
while gone_not=$(cat "$work/front.pid" 2>/dev/null) && ! gone "$gone_not"; do
    sleep 1
done
say "demo: nginx has ended" >&2
exit 1
