# The frame of a script that puts nginx nodes under load while things break: a
# folder, servers that end with it, load that must not notice, and what a node
# may not have lost afterwards. To be sourced, with $top set.
#
# A node's name is that of a variable with its port: front=8080, `load front`.
# wrk closes each connection after its request: nginx itself cuts idle keepalive
# connections when a worker leaves, which a client may run into.

work=$(mktemp -d "${TMPDIR:-/tmp}/zedcup-soak.XXXXXX")
. "$top/tests/support/nginx.sh"
. "$top/tests/support/consul.sh"
. "$top/tests/support/tap.sh"

nodes=front    # whose logs are looked at
clients=8      # of each wrk
helpers=''     # processes to end at the end, with their children
load_pids=''

finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $load_pids $helpers; do
        pkill -P "$pid" || :
        kill "$pid" 2>/dev/null || :
    done
    for conf in "$work"/*.conf; do stop_nginx "$(basename "$conf" .conf)"; done
    [ -z "${consul_pid:-}" ] || kill -s CONT "$consul_pid" 2>/dev/null || :
    stop_consul
    [ "$status" -eq 0 ] || for name in $nodes; do tail -n 20 "$work/$name.log" || :; done
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

now_ms() { echo $(($(date +%s%N) / 1000000)); }
url() { eval "say http://127.0.0.1:\$$1"; } # NODE

# ---- the store, backends, nodes ----

put() { curl -sf -m 5 -X PUT -d "$2" "$consul_url/v1/kv/zedcup/$1" > /dev/null; } # KEY VALUE
get() { curl -s -m 5 "$consul_url/v1/kv/zedcup/$1?raw"; } # KEY

# The three backends are b1, b2 and b3, on ports of these names.
start_backends() { for name in b1 b2 b3; do eval "start_backend $name \$$name"; done; }

# The hosts of an instance are the three backends.
put_backends() { # INSTANCE
    for i in 1 2 3; do
        eval "put instances/$1/pools/1/hosts/$i/port \$b$i"
        put "instances/$1/pools/1/hosts/$i/host" 127.0.0.1
    done
}

# What the store says of an instance's first host; base64 of "false" and "true".
up_entry() { curl -s -m 5 "$consul_url/v1/kv/zedcup/instances/$1/pools/1/hosts/1/up"; }
is_down() { up_entry "$1" | grep -q '"Flags":1,"Value":"ZmFsc2U="'; }
is_up() { up_entry "$1" | grep -q '"Flags":0,"Value":"dHJ1ZQ=="'; }

# `plain` in place of `lua`: an nginx that has no ngx_lua.
start_node() { # NAME WORKERS lua|plain TEMPLATE [STORE_PORT]
    eval "port=\$$1"
    {
        if [ "$3" = lua ]; then zedcup_main; else zedcup_main | tail -n 1; fi
        nginx_main "$1" "$2" notice
        say "http {"
        nginx_http "$1"
        [ "$3" = plain ] || zedcup_http
        sed -e "s|@CONSUL@|${5:-$consul_port}|" -e "s|@PORT@|$port|" \
            -e "s|@B1@|${b1:-}|" -e "s|@B2@|${b2:-}|" -e "s|@B3@|${b3:-}|" \
            "$top/tests/soak/$4"
        say "}"
    } > "$work/$1.conf"
    start_nginx "$1"
}

# ---- a node, as seen from outside ----

master() { cat "$work/$1.pid"; }
workers() { pgrep -P "$(master "$1")" | sort -n; }
has_workers() {
    [ "$(workers "$1" | wc -l)" -eq "$(sed -n 's/^worker_processes \(.*\);/\1/p' "$work/$1.conf")" ]
}
threads() {
    for pid in $(workers "$1"); do ls "/proc/$pid/task" 2>/dev/null | wc -l; done |
        sort -u | tr '\n' ' '
}
memory_kb() { # the most that the master or a worker has of its own
    for pid in $(master "$1") $(workers "$1"); do
        awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null
    done | sort -n | tail -n 1
}
# Which worker leads, by the last that said so.
leader() {
    sed -n 's/.*\[notice\] \([0-9]*\)#.*this worker follows.*/\1/p' "$work/$1.log" | tail -n 1
}

# Who answers sixty requests, or whatever status came instead, sorted.
answering() { # NODE
    asked=$(url "$1") i=0
    while [ "$i" -lt 60 ]; do
        curl -s -m 5 -w '%{http_code}\n' "$asked/"
        i=$((i + 1))
    done | grep -v '^200$\|^<\|^$' | sort -u | tr '\n' ' '
}
answer() { [ "$(answering "$1")" = "$2 " ]; } # NODE NAMES

# ---- do changes arrive? ----

# A node answers /marker with a header: the worker's pid, and the name that the
# only host of the instance "marker" has for it.
put_marker() { # TEXT
    [ -n "${marked:-}" ] || {
        put instances/marker/pools/1/hosts/1/host 127.0.0.1
        put instances/marker/pools/1/hosts/1/port "$b3"
        marked=1
    }
    put instances/marker/pools/1/hosts/1/name "$1"
}
everybody_said() { # NODE TEXT
    for pid in $(workers "$1"); do
        grep -q "^$pid $2\$" "$work/said" || return 1
    done
}
ask_around() { # NODE TEXT
    i=0
    : > "$work/said"
    while [ "$i" -lt 400 ]; do
        curl -sI -m 5 "$(url "$1")/marker" | tr -d '\r' | sed -n 's/^X-Says: //p' >> "$work/said"
        i=$((i + 1))
        [ $((i % 4)) -ne 0 ] || ! everybody_said "$1" "$2" || return 0
    done
    return 1
}
follows() { # TEXT [NODE]: it reaches each worker
    put_marker "$1"
    wait_until 10 ask_around "${2:-front}" "$1"
}

# ---- load ----

load() { # NODE...
    for name in "$@"; do
        wrk -t1 -c"$clients" -d3600s -H 'Connection: close' "$(url "$name")/" \
            > "$work/wrk.$name" 2>&1 &
        load_pids="$load_pids $!"
    done
    loaded=$*
}
# Sets $count and $failed; an answer that was an error is one too many.
end_load() { # WHAT
    # shellcheck disable=SC2086
    kill -INT $load_pids
    for pid in $load_pids; do wait "$pid" || :; done
    load_pids='' count=0 failed=0
    for name in $loaded; do
        n=$(awk '/requests in/ { print $1 }' "$work/wrk.$name")
        [ "${n:-0}" -gt 100 ] || bad "$1: wrk made no requests: $(cat "$work/wrk.$name")"
        count=$((count + n))
        n=$(awk '/Socket errors/ { gsub(",", ""); print $4 + $6 + $8 + $10 }' "$work/wrk.$name")
        failed=$((failed + ${n:-0}))
        ! grep 'Non-2xx' "$work/wrk.$name" || bad "$1: an answer of $name was an error"
    done
}
load_was_clean() { # WHAT
    end_load "$1"
    [ "$failed" -eq 0 ] || bad "$1: $failed requests failed"
}
only_killed_lost() { # WORKERS KILLED
    end_load "workers killed"
    [ "$failed" -le $((clients * $1)) ] ||
        bad "$failed requests failed, more than the $1 killed workers held"
    ok "only the killed workers' own connections were lost ($failed of $count requests)"
}

no_alarm() {
    for name in $nodes; do
        if grep -E '\[(alert|emerg|crit)\]|signal (6|11)|core dumped|AddressSanitizer' \
            "$work/$name.log" | grep -v 'exited on signal 9'; then
            bad "alarms in the error log of $name"
        fi
    done
    ok "no alarm in the log"
}
quits() { # NODE
    pid=$(master "$1")
    kill -QUIT "$pid"
    wait_until 10 gone "$pid" || bad "nginx does not quit"
    no_alarm
}

# ---- what is done to a node ----

renewed() { # NODE OLD-WORKERS
    has_workers "$1" && ! workers "$1" | grep -qxF "$2"
}
reload() { # NODE
    old=$(workers "$1")
    kill -HUP "$(master "$1")"
    wait_until 20 renewed "$1" "$old" || bad "a reload is not over"
}

# Reloads under load; what a process holds must stay as it is.
reload_under_load() { # NODE TIMES
    threads_before=$(threads "$1") memory_before=
    load "$1"
    done_so_far=0
    while [ "$done_so_far" -lt "$2" ]; do
        reload "$1"
        done_so_far=$((done_so_far + 1))
        [ "$done_so_far" -ne 3 ] || memory_before=$(memory_kb "$1")
    done
    load_was_clean "$2 reloads"
    ok "$2 reloads: $count requests, none failed"
    threads_steady() { [ "$(threads "$1")" = "$threads_before" ]; }
    wait_until 5 threads_steady "$1" || bad "threads: $threads_before before, $(threads "$1") now"
    memory_after=$(memory_kb "$1")
    # (a sanitizer keeps what was freed)
    [ -n "${ZEDCUP_PRELOAD:-}" ] || [ "$memory_after" -lt $((memory_before + 4096)) ] ||
        bad "memory of a process: $memory_before kB, then $memory_after kB"
    ok "threads ($threads_before) and memory ($memory_before kB, $memory_after kB) are steady"
    follows reloaded "$1" || bad "changes do not come any more"
    ok "every worker follows after the reloads"
}

another_leads() { # NODE OLD
    leads=$(leader "$1")
    [ "$leads" != "$2" ] && ! gone "$leads"
}
# Under load: within a second another worker leads, and changes keep coming.
# What must hold besides is a command that gets the time of death (ms).
kill_leaders() { # NODE TIMES [COMMAND]
    load "$1"
    for round in $(seq "$2"); do
        old=$(leader "$1")
        kill -KILL "$old"
        killed=$(now_ms)
        wait_until 5 another_leads "$1" "$old" || bad "nobody leads after $old was killed"
        took=$(($(now_ms) - killed))
        [ "$took" -le 1000 ] || bad "another worker leads only after $took ms"
        ${3:-:} "$killed"
        wait_until 5 has_workers "$1" || bad "the killed worker is not replaced"
        follows "killed-$round" "$1" || bad "changes do not come after a killed leader"
        ok "leader killed: another leads after $took ms, changes keep coming"
    done
    only_killed_lost "$2"
}

# Under load: the store stops, a reload meanwhile, and comes back.
store_stops() { # NODE
    load "$1"
    stop_consul
    wait_until 5 grep -q 'trying again' "$work/$1.log" || bad "the lost store is not reported"
    reload "$1"
    start_consul_again
    follows back "$1" || bad "changes do not come after the store's return"
    load_was_clean "the store stopped"
    ok "the store stopped, a reload meanwhile, and back: $count requests, none failed"
}
