#!/bin/sh
# What one pick of lreu.picker costs, in nanoseconds of CPU, beside the classic
# smooth weighted round robin in Lua (nginx's algorithm, as lua-resty-balancer's
# resty.swrr has it: one pass over all peers a pick), in the same worker.
#
#   picker.sh [ROUNDS]
set -eu
rounds=${1:-5}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-bench.XXXXXX")
. "$top/tests/support/nginx.sh"

finish() {
    status=$?
    trap - EXIT INT TERM
    stop_nginx front
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

port=$(free_ports 1)
{
    zedcup_main
    nginx_main front 1 warn
    cat <<END
http {
$(nginx_http front)
$(zedcup_http)
    lua_shared_dict peers 16m;
    init_worker_by_lua_block { require("picker_cases").put_services(ngx.shared.peers) }
    server {
        listen 127.0.0.1:$port;
        location = /run { content_by_lua_block { require("picker_cases").run($rounds) } }
    }
}
END
} > "$work/front.conf"
start_nginx front
say "pick, ns of CPU      (target of rr: 60, 80, 120)"
curl -sf -m 600 "http://127.0.0.1:$port/run" || { cat "$work/front.log" >&2; exit 1; }
