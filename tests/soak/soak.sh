#!/bin/sh
# What must hold under load while things break: reloads, a killed leader, a
# stopped store. Four workers on a real Consul, wrk in front, three backends.
#
#   soak.sh [RELOADS]          prints TAP; exit 0 when every point holds
set -eu
reloads=${1:-20}
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/support/load.sh"

start_consul
set -- $(free_ports 4)
front=$1 b1=$2 b2=$3 b3=$4
start_backends
start_node front 4 lua front.conf

configured() { curl -s -m 5 "$(url front)/configure" | grep -q '^ok$'; }
wait_until 15 configured || bad "the instance cannot be written"
follows first || bad "not every worker follows"
ok "four workers follow"

# ---- a large instance: more than one transaction of the store ----
set -- $(curl -s -m 10 "$(url front)/big?hosts=500")
[ "$1" = 500 ] || bad "500 hosts in one call: $*"
[ "${2%.*}" -le 1000 ] || bad "500 hosts serve only after $2 ms"
ok "500 hosts in one call, the first request answered after ${2%.*} ms"
set -- $(curl -s -m 10 "$(url front)/big?hosts=2")
[ "$1" = 2 ] || bad "rewritten to 2 hosts: $*"
keys=$(curl -s "$consul_url/v1/kv/zedcup/instances/big/?keys" | grep -o '"zedcup[^"]*"' | wc -l)
[ "$keys" -eq 8 ] || bad "rewritten to 2 hosts of 4 keys: $keys keys are left"
ok "rewritten to 2 hosts: 2 hosts, 8 keys"

reload_under_load front "$reloads"
kill_leaders front 3
store_stops front
quits front
all_passed
