# The unattended demo: each step says what it saw. Sourced by demo.sh.

step=0
ok() { step=$((step + 1)); say "ok $step - $*"; }
bad() { step=$((step + 1)); say "not ok $step - $*"; exit 1; }

# COUNT requests; prints how many each host answered: "web01=10 web02=10"
spread() {
    i=0
    while [ "$i" -lt "$1" ]; do
        get /
        i=$((i + 1))
    done | sort | uniq -c | awk '{ printf "%s%s=%s", (NR > 1 ? " " : ""), $2, $1 }'
}

# Answers of one host are due only when every host answers one connection a
# request, whichever worker takes it: each worker has its own rotation.
expect_only() { # WHAT COUNT NAMES
    seen=$(spread "$2")
    total=0
    for part in $seen; do
        case " $3 " in
        *" ${part%=*} "*) total=$((total + ${part#*=})) ;;
        *) bad "$1: got $seen" ;;
        esac
    done
    [ "$total" -eq "$2" ] || bad "$1: $total of $2 answered: $seen"
    ok "$1: $seen"
}

set_host() { get "/_set?$1" | grep -q '^ok$' || bad "setting $1"; }

expect_only "the first pool serves" 40 "web01 web02"

stop_nginx web01
expect_only "web01 is stopped: no request fails" 40 "web02"
told() { grep -q "event: $1 demo/primary/$2" "$work/front.log"; }
told host_connect_error web01 || bad "no host_connect_error event for web01"
wait_until 5 told host_down web01 || bad "web01 is not taken down"
ok "its connect errors and that it is down were told as events"

start_nginx web01
wait_until 15 told host_up web01 || bad "web01 is started again, but not brought back"
back() { [ "$(get /)" = web01 ]; }
wait_until 5 back || bad "web01 is started again, but gets no requests"
ok "web01 is started again, passes its health checks and gets requests"

set_host 'host=web02&up=false'
expect_only "web02 is drained" 20 "web01"

stop_nginx web01
expect_only "the first pool is gone: the second serves" 20 "dr01 dr02"

start_nginx web01
set_host 'host=web02&up=true&weight=3'
both() { case $(spread 8) in web01=*\ web02=*) ;; *) return 1 ;; esac }
wait_until 15 both || bad "not both hosts of the first pool are back: $(spread 8)"
seen=$(spread 80)
heavy=${seen##*web02=}
case $seen in
web01=*\ web02=*) ;;
*) bad "web02 is back with weight 3: got $seen" ;;
esac
# each worker deals 1:3 exactly; a cycle of each may be unfinished
[ "$heavy" -ge 56 ] && [ "$heavy" -le 64 ] ||
    bad "web02 is back with weight 3, expected about 60 of 80: $seen"
ok "web02 is back with weight 3: $seen"

say "$step passed, 0 failed"
