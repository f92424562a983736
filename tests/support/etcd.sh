# An etcd of one's own, on free loopback ports. To be sourced after nginx.sh;
# sets $etcd_port and $etcd_url.

start_etcd() {
    set -- $(free_ports 2)
    etcd_port=$1 etcd_url=http://127.0.0.1:$1
    etcd --data-dir "$work/etcd" \
        --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
        --listen-peer-urls "http://127.0.0.1:$2" \
        --initial-advertise-peer-urls "http://127.0.0.1:$2" \
        --initial-cluster "default=http://127.0.0.1:$2" >> "$work/etcd.log" 2>&1 &
    etcd_pid=$!
    wait_until 20 etcd_answers || { cat "$work/etcd.log" >&2; exit 1; }
}

etcd_answers() {
    curl -s -m 2 "$etcd_url/health" | grep -q '"true"'
}

stop_etcd() {
    [ -n "${etcd_pid:-}" ] || return 0
    kill "$etcd_pid" 2>/dev/null || :
    wait "$etcd_pid" 2>/dev/null || :
    etcd_pid=
}
