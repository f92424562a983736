# Hosts that note each probe, in an nginx of its own: who probes, and when. To be
# sourced after load.sh.
#
# Hosts that are overdue are spread over the interval: of so many, some are due
# at once. 127.0.0.2 and so on.

crowd=$(seq 2 41)

# Three hosts that are looked at one by one need ports; `serve_probed PORT…`
# logs theirs to $work/probes, the crowd's to $work/crowd.
serve_probed() { # CROWD_PORT [PORT...]
    crowd_port=$1
    shift
    {
        nginx_main probed 1 error
        say "http {"
        nginx_http probed
        say 'log_format probe "$msec $server_port $http_user_agent";'
        for port in "$@"; do
            say "server { listen 127.0.0.1:$port; access_log $work/probes probe;"
            say "    location / { return 200; } }"
        done
        say "server { access_log $work/crowd probe; location / { return 200; }"
        for i in $crowd; do say "listen 127.0.0.$i:$crowd_port;"; done
        say "} }"
    } > "$work/probed.conf"
    start_nginx probed
    touch "$work/probes"
}

put_crowd() {
    put instances/crowd/healthcheck/interval 1
    for i in $crowd; do
        put "instances/crowd/pools/1/hosts/$i/port" "$crowd_port"
        put "instances/crowd/pools/1/hosts/$i/host" "127.0.0.$i"
    done
}

# Seconds from that time to the first probe of any host.
first_after() { # UNIX_TIME
    awk -v from="$1" '$1 > from && (t == "" || $1 - from < t) { t = $1 - from }
        END { printf "%.2f", t == "" ? 999 : t }' "$work/probes" "$work/crowd"
}
within() { awk -v x="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(x >= low && x <= high) }'; }
