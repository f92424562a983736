# Hosts behind unix sockets and IPv6 addresses: requests, connections of other
# modules' clients, reuse, failover.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

our $servers = <<'END';
server {
    listen [::1]:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2;
    listen unix:$TEST_NGINX_SOCKET_DIR/a.sock;
    location / { return 200 "$server_addr $http_host $connection_requests"; }
    location = /500 { return 500; }
    location = /echo {
        client_max_body_size 4m;
        client_body_buffer_size 4m;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_method(), " ", ngx.md5(ngx.req.get_body_data() or ""))
        }
    }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $servers);
});

run_tests();

__DATA__

=== TEST 1: requests, bodies and reuse, in every way a host is spelled
--- lua
local port = $TEST_NGINX_BACKEND_PORT
local text = ("0123456789"):rep(100000)
local function try(host, with_port)
    f.configure("web", { { host = host, port = with_port } })
    local said = {}
    for i = 1, 2 do said[i] = f.ask(zedcup.create_handler("web")):gsub(port, "PORT") end
    local echo = f.ask(zedcup.create_handler("web"),
                       { method = "PUT", path = "/echo", body = text }) == "PUT " .. ngx.md5(text)
    f.say((table.concat(said, ", "):gsub("unix:/%S*/", "unix:DIR/")), echo,
          (zedcup.create_handler("web"):config().pools[1].hosts[1].host:gsub("unix:.*", "unix")))
end
try("::1", port)
try("[::1]", port)
try("0:0:0:0:0:0:0:1", port)
try("unix:$TEST_NGINX_SOCKET_DIR/a.sock")
try("unix:$TEST_NGINX_SOCKET_DIR/a.sock", 80)
--- response_body
::1 [::1]:PORT 1, ::1 [::1]:PORT 2 true [::1]
::1 [::1]:PORT 4, ::1 [::1]:PORT 5 true [::1]
::1 [::1]:PORT 7, ::1 [::1]:PORT 8 true [::1]
unix:DIR/a.sock localhost 1, unix:DIR/a.sock localhost 2 true unix
unix:DIR/a.sock localhost 4, unix:DIR/a.sock localhost 5 true unix



=== TEST 2: connect(): its own cosocket, the caller's, a client of another module
--- lua
local function talk(sock)
    assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
    return sock:receive("*a"):match("\r\n\r\n(.*)"):gsub("unix:.*/", "")
end
local function try(host, port)
    f.configure("web", { { host = host, port = port } })
    f.say((talk(assert(zedcup.create_handler("web"):connect()))))
    f.say((talk(assert(zedcup.create_handler("web"):connect(ngx.socket.tcp())))))
    local client = assert(zedcup.create_handler("web"):connect(require("zedcup.http").new()))
    f.say((client:request({}):read_body():gsub("unix:.*/", ""):gsub(tostring(port), "PORT")))
end
try("::1", $TEST_NGINX_BACKEND_PORT)
try("unix:$TEST_NGINX_SOCKET_DIR/a.sock")
--- response_body
::1  1
::1  1
::1 [::1]:PORT 1
a.sock  1
a.sock  1
a.sock localhost 1



=== TEST 3: a socket that is not there, or one that nobody accepts on, goes on to the next host
--- lua
local dir = "$TEST_NGINX_SOCKET_DIR"
local file = assert(io.open(dir .. "/file.sock", "w"))
file:close()
f.configure("web", { { name = "missing", host = "unix:" .. dir .. "/missing.sock" },
                     { name = "file", host = "unix:" .. dir .. "/file.sock" },
                     { name = "six", host = "::1", port = $TEST_NGINX_CLOSED_PORT },
                     { name = "good", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT2 } })
local handler = zedcup.create_handler("web")
local said = {}
handler:bind("host_connect_error", function(data) said[#said + 1] = data.host.name .. ": " .. data.err end)
f.say((f.ask(handler):gsub(":%d+", ":PORT")))
for _, line in ipairs(said) do f.say(line) end
--- response_body
127.0.0.1 127.0.0.1:PORT 1
missing: no such file or directory
file: connection refused
six: connection refused
--- no_error_log
[alert]
