# Shell functions that the demo and the benches share: free ports, nginx
# processes that end by pid. To be sourced; needs $top and $work (a folder).

say() { printf '%s\n' "$*"; }

# Free loopback ports, one a line.
free_ports() {
    perl -MIO::Socket::INET -e '
        my @held = map {
            IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1) or die $!
        } 1 .. shift;
        print $_->sockport, "\n" for @held;' "$1"
}

port_is_free() {
    perl -MIO::Socket::INET -e '
        exit !IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => shift,
                                    Listen => 1, ReuseAddr => 1)' "$1"
}

# The top of a configuration: everything that must not come from the system's.
# load_module lines come before it.
nginx_main() { # NAME WORKERS [LEVEL]
    [ "$(id -u)" -ne 0 ] || say "user root;"
    cat <<END
daemon on;
worker_processes $2;
pid $work/$1.pid;
error_log $work/$1.log ${3:-notice};
worker_rlimit_nofile 8192;
events { worker_connections 2048; }
END
}

nginx_http() { # NAME: inside http {}
    cat <<END
    access_log off;
    client_body_temp_path $work/$1.body;
    proxy_temp_path $work/$1.proxy;
    fastcgi_temp_path $work/$1.fastcgi;
    uwsgi_temp_path $work/$1.uwsgi;
    scgi_temp_path $work/$1.scgi;
END
}

modules_dir() {
    nginx -V 2>&1 | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p'
}

zedcup_main() {
    say "load_module $(modules_dir)/ndk_http_module.so;"
    say "load_module $(modules_dir)/ngx_http_lua_module.so;"
    say "load_module ${ZEDCUP_MODULE:-$top/build/nginx/ngx_http_zedcup_module.so};"
}

# What stream {} needs, after zedcup_main; nginx's own stream may be built in.
zedcup_stream_main() {
    stream=$(modules_dir)/ngx_stream_module.so
    [ ! -e "$stream" ] || say "load_module $stream;"
    http=${ZEDCUP_MODULE:-$top/build/nginx/ngx_http_zedcup_module.so}
    say "load_module ${http%/*}/ngx_stream_zedcup_module.so;"
}

zedcup_http() {
    cat <<END
    lua_package_path "$top/lua/?.lua;$top/tests/bench/?.lua;;";
    lua_shared_dict zedcup_cache 1m;
    lua_shared_dict zedcup_locks 1m;
    lua_shared_dict zedcup_ipc 1m;
    lua_socket_log_errors off;
END
}

# ZEDCUP_PRELOAD: what a module built with sanitizers needs first in the process.
start_nginx() { # NAME
    LD_PRELOAD=${ZEDCUP_PRELOAD:-} nginx -p "$work" -e "$work/$1.log" -c "$work/$1.conf"
}

# Stops by pid and waits until it is gone.
stop_nginx() { # NAME [SIGNAL]
    [ -s "$work/$1.pid" ] || return 0
    pid=$(cat "$work/$1.pid")
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || return 0
    wait_until 5 gone "$pid" || kill -s KILL "$pid" 2>/dev/null || :
    rm -f "$work/$1.pid"
}

# A process that has ended may wait for its parent to notice.
gone() {
    case $(ps -o stat= -p "$1" 2>/dev/null) in
    '' | Z*) return 0 ;;
    *) return 1 ;;
    esac
}

# Runs a command until it succeeds, at most that many seconds (and once more,
# however long it takes).
wait_until() { # SECONDS COMMAND...
    deadline=$(($(date +%s) + $1 + 1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# A backend that answers with its name.
backend_conf() { # NAME PORT
    nginx_main "$1" 1 error
    cat <<END
http {
$(nginx_http "$1")
    server {
        listen 127.0.0.1:$2;
        keepalive_requests 1000000;
        location / { return 200 "$1\n"; }
    }
}
END
}

start_backend() { # NAME PORT
    backend_conf "$1" "$2" > "$work/$1.conf"
    start_nginx "$1"
}

# Kills a backend as a crash would, the worker with its connections included.
kill_backend() { # NAME
    set -- "$1" "$(cat "$work/$1.pid")"
    # shellcheck disable=SC2046
    kill -s KILL "$2" $(pgrep -P "$2")
    wait_until 5 gone "$2"
    rm -f "$work/$1.pid"
}
