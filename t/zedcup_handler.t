# A request's way to a host: the order of hosts and pools, failover, what is
# repeated and what is not, status codes, connections and their reuse.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

run_tests();

__DATA__

=== TEST 1: a refused connection goes on to the next host in the same request
--- backends: 2
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, h[2] })
local errors = 0
zedcup.bind("host_connect_error", function(instance, data)
    errors = errors + 1
    if errors == 1 then f.say(instance, data.pool.name, data.host.name, data.err) end
end)
f.say(f.tally("web", 12))
f.say(errors)
--- response_body
web 1 dead connection refused
b1=6 b2=6 false
1



=== TEST 2: a host that does not accept is left after the pool's connect time-out
--- backends: 1
--- lua
f.configure("web", { { name = "hole", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }, f.hosts(1)[1] },
            { timeout = 100 })
local said
zedcup.bind("host_connect_error", function(_, data) said = data.err end)
ngx.update_time()
local begun = ngx.now()
f.say(f.ask(zedcup.create_handler("web")))
ngx.update_time()
local took = ngx.now() - begun
f.say(said, took >= 0.09 and took < 1)
--- script
# a listener with a full queue: the kernel drops what comes
my $hole = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
    LocalPort => $TEST_NGINX_EXTRA_PORT, Listen => 1, ReuseAddr => 1) or die $!;
listen($hole, 0) or die $!;
my @waiting = map {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $TEST_NGINX_EXTRA_PORT, Blocking => 0)
} 1 .. 4;
is(body_of('/t'), "b1 200 nil\ntimeout true", 'went on');



=== TEST 3: failed hosts are remembered over the handlers of one request, not longer
--- backends: 1
--- config
location = /try {
    content_by_lua_block {
        local zedcup, f = require("zedcup"), require("zedcup_fixture")
        local failed = {}
        for i = 1, 3 do
            local handler = zedcup.create_handler("web")
            handler:bind("host_connect_error", function(data) failed[#failed + 1] = i .. data.host.name end)
            f.ask(handler)
        end
        -- another instance has a memory of its own
        local handler = zedcup.create_handler("other")
        handler:bind("host_connect_error", function(data) failed[#failed + 1] = "other " .. data.host.name end)
        local _, err = handler:connect()
        ngx.say(table.concat(failed, " "), " ", err)
        ngx.say(tostring(select(2, handler:request({}))))
    }
}
--- lua
local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
f.configure("web", { dead, f.hosts(1)[1] })
f.configure("other", { dead })
for _ = 1, 2 do
    local http = require("zedcup.http").new()
    ngx.print(http:request_uri("http://127.0.0.1:" .. ngx.var.server_port .. "/try").body)
end
--- response_body
1dead other dead No available upstream hosts
No available upstream hosts
1dead other dead No available upstream hosts
No available upstream hosts



=== TEST 4: without a usable host: nil and the documented text
--- lua
f.configure("web", { { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT } })
local handler = zedcup.create_handler("web")
f.say(handler:request({}))
f.say(handler:connect())
f.say(handler:close())
f.say(handler:set_keepalive())
f.say(handler:get_reused_times())
--- response_body
nil No available upstream hosts
nil No available upstream hosts
nil not connected
nil not connected
nil not connected



=== TEST 5: what is repeated after bytes were sent, and what is not
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4;
    # reads the request and closes without an answer
    location / { content_by_lua_block {
        ngx.req.read_body()
        ngx.shared.zedcup_ipc:incr("seen", 1, 0)
        ngx.exit(444)
    } }
}
--- backends: 1
--- lua
local good = f.hosts(1)[1]
local bad = { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 }
local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
local seen = ngx.shared.zedcup_ipc
local function iterator(...)
    local pieces, i = { ... }, 0
    return function() i = i + 1 return pieces[i] end
end
local function try(what, first, params, pool)
    pool = pool or {}
    assert(zedcup.configure_instance("web", { pools = {
        { retry_non_idempotent = pool.retry, hosts = { first } }, { hosts = { good } } } }))
    seen:delete("seen")
    f.forget()
    params.path = "/echo"
    local handler = zedcup.create_handler("web")
    local errors = 0
    handler:bind("host_request_error", function() errors = errors + 1 end)
    f.say(what .. ":", (f.ask(handler, params)), seen:get("seen") or 0, errors)
end
for _, method in ipairs({ "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "get" }) do
    try(method, bad, { method = method })
end
try("POST with a body", bad, { method = "POST", body = "x" })
try("PUT with a body", bad, { method = "PUT", body = "x" })
try("POST, retry", bad, { method = "POST", body = "x" }, { retry = true })
try("POST, a list, retry", bad, { method = "POST", body = { "x", "y" } }, { retry = true })
try("PUT, an iterator", bad, { method = "PUT", body = iterator("x", "y") })
try("POST, an iterator, retry", bad, { method = "POST", body = iterator("x", "y") }, { retry = true })
try("POST, refused", dead, { method = "POST", body = "x" })
try("POST, an iterator, refused", dead, { method = "POST", body = iterator("x", "y") })
--- response_body
GET: GET /echo  1 1
HEAD:  1 1
OPTIONS: OPTIONS /echo  1 1
PUT: PUT /echo  1 1
DELETE: DELETE /echo  1 1
POST: ERROR: closed 1 1
PATCH: ERROR: closed 1 1
get: GET /echo  1 1
POST with a body: ERROR: closed 1 1
PUT with a body: PUT /echo x 1 1
POST, retry: POST /echo x 1 1
POST, a list, retry: POST /echo xy 1 1
PUT, an iterator: ERROR: closed 1 1
POST, an iterator, retry: ERROR: closed 1 1
POST, refused: POST /echo x 0 0
POST, an iterator, refused: POST /echo xy 0 0



=== TEST 6: answers that count as failures go on to another host
--- http_config
server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT3; location / { return 500 "bad3"; } }
server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4; location / { return 503 "bad4"; } }
--- backends: 1
--- lua
local h = f.hosts(4)
local events = {}
zedcup.bind("host_request_error", function(_, data) events[#events + 1] = data.host.name .. ": " .. data.err end)
local function try(what, hosts, params, pool)
    assert(zedcup.remove_instance("web"))   -- so that the first host is next
    f.configure("web", hosts, pool)
    events = {}
    local body, status, err = f.ask(zedcup.create_handler("web"), params)
    f.say(what .. ":", body, status, err, "[" .. table.concat(events, ", ") .. "]")
end
try("mixed", { h[3], h[4], h[1] })
try("all", { h[3], h[4] })
try("one", { h[3] })
try("404 by default", { h[1] }, { path = "/404" })
try("404, another has it", { h[1], h[3] }, { path = "/404" })
try("POST", { h[3], h[1] }, { method = "POST", body = "x" })
try("POST, retry", { h[3], h[1] }, { method = "POST", body = "x" }, { retry_non_idempotent = true })
try("only 503", { h[3], h[1] }, nil, { status_codes = { "503" } })
try("only 503", { h[4], h[1] }, nil, { status_codes = { "503" } })
try("50x", { h[4], h[1] }, nil, { status_codes = { ["50x"] = true } })
try("none", { h[4], h[1] }, nil, { status_codes = {} })
try("over pools", { h[3], h[4] })
assert(zedcup.configure_instance("web", { pools = { { hosts = { h[3] } }, { hosts = { h[1] } } } }))
f.say(f.ask(zedcup.create_handler("web")))
-- an answer is no failed host: the next request tries it again
assert(zedcup.remove_instance("web"))
f.configure("web", { h[3], h[4] })
local one = zedcup.create_handler("web")
f.say(f.ask(one))
f.say(f.ask(one))
f.say(f.ask(zedcup.create_handler("web")))
--- response_body
mixed: b1 200 nil [b3: status code 500, b4: status code 503]
all: bad4 503 status code 503 [b3: status code 500, b4: status code 503]
one: bad3 500 status code 500 [b3: status code 500]
404 by default: b1 404 status code 404 [b1: status code 404]
404, another has it: bad3 500 status code 500 [b1: status code 404, b3: status code 500]
POST: bad3 500 status code 500 [b3: status code 500]
POST, retry: b1 200 nil [b3: status code 500]
only 503: bad3 500 nil []
only 503: b1 200 nil [b4: status code 503]
50x: b1 200 nil [b4: status code 503]
none: bad4 503 nil []
over pools: bad4 503 status code 503 [b3: status code 500, b4: status code 503]
b1 200 nil
bad4 503 status code 503
bad4 503 status code 503
bad4 503 status code 503



=== TEST 7: the connection of the last bad answer is usable; a better one closes it
--- http_config
server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4;
    location / { return 500 "$connection $connection_requests"; } }
--- backends: 1
--- lua
local h = f.hosts(4)
f.configure("web", { h[4] })
local one = f.ask(zedcup.create_handler("web"))
local two = f.ask(zedcup.create_handler("web"))
f.say(one:match("^%d+") == two:match("^%d+"), two:match("%d+$"))
local handler = zedcup.create_handler("web")
local res, err = handler:request({})
f.say(res.status, err, handler:get_reused_times(), res:read_body() ~= nil, handler:set_keepalive())
f.say(handler:set_keepalive())
--- response_body
true 2
500 status code 500 2 true 1
nil not connected



=== TEST 8: bad arguments are refused before anything is sent, and no host is blamed
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
local events = 0
for _, event in ipairs({ "host_connect_error", "host_request_error" }) do
    zedcup.bind(event, function() events = events + 1 end)
end
local function try(params)
    local handler = zedcup.create_handler("web")
    f.say(handler:request(params))
    f.say(handler:close())
end
try({ path = "/a\r\nX: y" })
try({ path = "/a b" })
try({ method = "GET /x HTTP/1.1\r\nX:" })
try({ headers = { ["X\r\nY"] = "z" } })
try({ headers = { X = "y\r\nZ: 1" } })
try({ headers = { Host = "a\nb" } })
try({ query = 5 })
try({ body = true })
try({ headers = "X: y" })
try({ method = 5 })
f.say(events)
f.say(f.tally("web", 10))
--- response_body_like
^(?:nil [^\n]+
nil not connected
){10}0
b1=\d+ b2=\d+ \w+$



=== TEST 9: a body iterator that fails is not the host's doing
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
local events = 0
zedcup.bind("host_request_error", function() events = events + 1 end)
local function try(body)
    f.say(zedcup.create_handler("web"):request({ method = "PUT", body = body, path = "/echo" }))
end
try(function() return nil, "the client left" end)
try(function() error("oops", 0) end)
try(function() return {} end)
f.say(events)
--- response_body_like
^nil body iterator: the client left
nil body iterator: oops
nil body iterator: returned a table
0$



=== TEST 10: connections are kept and reused, closed where asked
--- backends: 1
--- lua
f.configure("web", f.hosts(1))
local function once(finish)
    local handler = zedcup.create_handler("web")
    local res = assert(handler:request({ path = "/connections" }))
    local reused = handler:get_reused_times()
    f.say(res:read_body(), reused, finish(handler))
end
once(function(h) return h:set_keepalive() end)
once(function(h) return h:set_keepalive(1000, 10) end)
once(function(h) return h:close() end)
once(function(h) return h:set_keepalive() end)
-- a body that was not read keeps it from being reused
local handler = zedcup.create_handler("web")
assert(handler:request({ path = "/connections" }))
f.say(handler:set_keepalive())
once(function(h) return h:set_keepalive(0) end)
f.configure("web", f.hosts(1), { keepalive_pool = 0 })
once(function(h) return h:set_keepalive() end)
once(function(h) return h:set_keepalive(1000, 0) end)
once(function(h) return h:set_keepalive(1000, 1) end)
--- response_body
b1 1 0 1
b1 2 1 1
b1 3 2 1
b1 1 0 1
2 connection must be closed
b1 1 0 1
b1 2 1 1
b1 1 0 1
b1 1 0 1



=== TEST 11: several requests over one handler
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
local handler = zedcup.create_handler("web")
for _ = 1, 4 do
    local res = assert(handler:request({ path = "/" }))
    f.say(res:read_body())
end
handler:set_keepalive()
-- the ones before were closed or kept, never left half-read for the next
for _ = 1, 4 do
    f.say(f.ask(handler, { path = "/echo" }))
end
--- response_body
b1
b2
b1
b2
GET /echo  200 nil
GET /echo  200 nil
GET /echo  200 nil
GET /echo  200 nil



=== TEST 12: a pooled connection that its host closed does not fail a GET, nor blame the host
--- config
location = /configure {
    content_by_lua_block {
        require("zedcup_fixture").configure("web", { { host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } })
        ngx.print("ok")
    }
}
location = /try {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        local handler = require("zedcup").create_handler("web")
        local errors = 0
        for _, event in ipairs({ "host_connect_error", "host_request_error" }) do
            handler:bind(event, function() errors = errors + 1 end)
        end
        local params = { method = ngx.var.arg_m or "GET", body = ngx.var.arg_m == "POST" and "" or nil }
        local body, _, err = f.ask(handler, params)
        ngx.print(body, " ", errors, err or "")
    }
}
--- script
my $server = spawn_server();
is(body_of('/configure'), 'ok', 'configured');
is(body_of('/try'), 'extra 0', 'a first connection');
for my $round (1 .. 3) {
    stop_server($server);
    $server = spawn_server();
    is(body_of('/try'), 'extra 0', "after restart $round");
}
stop_server($server);
is(body_of('/try'), 'ERROR: No available upstream hosts 1', 'gone: a failed connect');
$server = spawn_server();
is(body_of('/try'), 'extra 0', 'back');
stop_server($server);



=== TEST 13: a kept connection that is closed under the request: once more for a GET, not for a POST
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4;
    # answers once a connection, and closes on the second request
    location / { content_by_lua_block {
        ngx.shared.zedcup_ipc:incr("connections", 1, 0)
        require("raw_server").serve({ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "" })
    } }
}
--- backends: 1
--- lua
f.configure("web", { f.hosts(4)[4] })
local events = {}
for _, event in ipairs({ "host_connect", "host_connect_error", "host_request_error" }) do
    zedcup.bind(event, function(_, data) events[#events + 1] = event .. " " .. (data.err or "-") end)
end
local function try(params)
    events = {}
    local body, _, err = f.ask(zedcup.create_handler("web"), params)
    f.say(params.method, body, err, ngx.shared.zedcup_ipc:get("connections"), table.concat(events, ", "))
end
try({ method = "GET" })
try({ method = "GET" })
try({ method = "PUT", body = "x" })
try({ method = "POST", body = "x" })
--- response_body
GET ok nil 1 host_connect -
GET ok nil 2 host_connect -, host_connect -
PUT ok nil 3 host_connect -, host_connect -
POST ERROR: closed nil 3 host_connect -, host_request_error closed



=== TEST 14: connect() gives a connected cosocket, its own or the caller's
--- backends: 1
--- lua
local port = f.hosts(1)[1].port
f.configure("web", { { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, f.hosts(1)[1] })
local function talk(sock)
    assert(sock:send("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"))
    local head = sock:receiveuntil("\r\n\r\n")()
    return head:match("^[^\r]*"), sock:receive(2)
end
local handler = zedcup.create_handler("web")
f.say(talk(handler:connect()))
f.say(handler:get_reused_times(), handler:set_keepalive())
handler = zedcup.create_handler("web")
f.say(talk(handler:connect()))
f.say(handler:get_reused_times(), handler:close())
local own = ngx.socket.tcp()
handler = zedcup.create_handler("web")
local sock = handler:connect(own)
f.say(sock == own, talk(sock))
f.say(handler:set_keepalive(1000, 5))
for _, wrong in ipairs({ 5, "x", true, {}, { connect = true, set_timeout = true },
                         { connect = function() end } }) do
    f.say(handler:connect(wrong))
end
--- response_body
HTTP/1.1 200 OK b1
0 1
HTTP/1.1 200 OK b1
1 1
true HTTP/1.1 200 OK b1
1
nil sock: expected a cosocket or a client with connect and set_timeout
nil sock: expected a cosocket or a client with connect and set_timeout
nil sock: expected a cosocket or a client with connect and set_timeout
nil sock: expected a cosocket or a client with connect and set_timeout
nil sock: expected a cosocket or a client with connect and set_timeout
nil sock: expected a cosocket or a client with connect and set_timeout



=== TEST 15: a client driver in the manner of lua-resty-redis, failing in its several ways
--- backends: 1
--- lua
local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
f.configure("web", { dead, f.hosts(1)[1] }, { timeout = 150, read_timeout = 250 })
local log = {}
local function driver(connect)
    local c = { sock = ngx.socket.tcp() }
    function c:set_timeout(ms) log[#log + 1] = "timeout " .. ms self.sock:settimeout(ms) end
    c.connect = connect or function(self, host, port, opts)
        log[#log + 1] = "connect " .. type(host) .. " " .. type(port) .. " " .. type(opts)
        return self.sock:connect(host, port, opts)
    end
    function c:ask()
        self.sock:send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.sock:receiveuntil("\r\n\r\n")()
        return self.sock:receive(2)
    end
    function c:set_keepalive(...) log[#log + 1] = "keepalive " .. table.concat({ ... }, " ") return self.sock:setkeepalive(...) end
    return c
end
local function say_log()
    f.say(table.concat(log, ", "))
    log = {}
end
local handler = zedcup.create_handler("web")
local events = {}
handler:bind("host_connect_error", function(data) events[#events + 1] = data.host.name .. ": " .. data.err end)
handler:bind("host_connect", function(data) events[#events + 1] = data.host.name end)
local client = driver()
local got, err = handler:connect(client)
f.say(got == client, err, client:ask())
f.say(handler:set_keepalive())
say_log()
f.say(table.concat(events, ", "))
events = {}
f.configure("raise", { dead, f.hosts(1)[1] })
handler = zedcup.create_handler("raise")
handler:bind("host_connect_error", function(data) events[#events + 1] = data.host.name .. ": " .. data.err end)
f.say(handler:connect(driver(function() error("no way", 0) end)))
f.say(table.concat(events, ", "))
f.configure("nothing", { dead })
events = {}
handler = zedcup.create_handler("nothing")
handler:bind("host_connect_error", function(data) events[#events + 1] = data.host.name .. ": " .. data.err end)
f.say(handler:connect(driver(function() return nil end)))
f.say(table.concat(events, ", "))
-- set_timeout that raises; drivers without set_keepalive or close
f.configure("other", f.hosts(1))
handler = zedcup.create_handler("other")
local raising = driver()
raising.set_timeout = function() error("no timeouts here", 0) end
f.say(handler:connect(raising))
f.configure("other", f.hosts(1))
f.configure("third", f.hosts(1))
handler = zedcup.create_handler("third")
local bare = driver()
bare.set_keepalive = nil
f.say(handler:connect(bare) == bare, handler:set_keepalive())
f.say(handler:get_reused_times())
f.say(handler:close())
--- response_body
true nil b1
1
timeout 150, connect string number table, timeout 150, connect string number table, timeout 250, keepalive 60000 128
dead: connection refused, b1
nil No available upstream hosts
dead: no way, b1: no way
nil No available upstream hosts
dead: connect failed
nil No available upstream hosts
true nil the client driver has no set_keepalive
nil the client driver has no get_reused_times
nil the client driver has no close



=== TEST 16: unix sockets and IPv6
--- http_config
server { listen unix:$TEST_NGINX_SOCKET_DIR/b.sock; location / { return 200 "unix $http_host"; } }
server { listen [::1]:$TEST_NGINX_BACKEND_PORT; location / { return 200 "v6 $http_host"; } }
--- lua
f.configure("unix", { { host = "unix:$TEST_NGINX_SOCKET_DIR/b.sock", port = 99 } })
f.configure("v6", { { host = "::1", port = f.hosts(1)[1].port } })
for _ = 1, 2 do
    f.say(f.ask(zedcup.create_handler("unix")))
    f.say(f.ask(zedcup.create_handler("v6")))
end
local handler = zedcup.create_handler("unix")
f.say(handler:connect() ~= nil, handler:get_reused_times())
--- response_body
unix localhost 200 nil
v6 [::1]:PORT1 200 nil
unix localhost 200 nil
v6 [::1]:PORT1 200 nil
true 2



=== TEST 17: time-outs of the pool and of the caller
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4;
    location / { content_by_lua_block { ngx.sleep(1) ngx.print("slow") } }
}
--- backends: 1
--- lua
local h = f.hosts(4)
local function try(what, pool, set)
    f.configure("web", { h[4] }, pool)
    f.forget()
    local handler = zedcup.create_handler("web")
    local said
    handler:bind("host_request_error", function(data) said = data.err end)
    if set then f.say(set(handler)) end
    ngx.update_time()
    local begun = ngx.now()
    local body = f.ask(handler)
    ngx.update_time()
    f.say(what .. ":", body, said, ngx.now() - begun < 0.9)
end
try("pool", { read_timeout = 100 })
try("longer", { read_timeout = 100 }, function(c) return c:set_timeout(3000) end)
try("shorter", nil, function(c) return c:set_timeouts(1000, 1000, 100) end)
try("the pool's stay", { read_timeout = 100 }, function(c) return c:set_timeouts(1000, 1000) end)
local handler = zedcup.create_handler("web")
for _, wrong in ipairs({ 0, -1, "x", 2 ^ 31, 0/0, {} }) do
    if handler:set_timeout(wrong) then f.say("took", wrong) end
    if handler:set_timeouts(100, wrong, 100) then f.say("took", wrong) end
end
-- a read time-out goes on to the next host
f.forget()
f.configure("web", { h[4], h[1] }, { read_timeout = 100 })
f.say(f.ask(zedcup.create_handler("web")))
--- response_body
pool: ERROR: No available upstream hosts timeout true
true
longer: slow nil false
true
shorter: ERROR: No available upstream hosts timeout true
true
the pool's stay: ERROR: No available upstream hosts timeout true
b1 200 nil



=== TEST 18: a proxy: request and answer passed on, with bodies plain, chunked and large
--- http_config
client_max_body_size 30m;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4;
    location / {
        client_body_buffer_size 30m;
        content_by_lua_block {
            ngx.req.read_body()
            local body = ngx.req.get_body_data() or ""
            ngx.status = 201
            ngx.header["X-Seen"] = ngx.req.get_method() .. " " .. ngx.var.request_uri .. " "
                .. (ngx.var.http_x_from or "-") .. " " .. #body .. " " .. ngx.md5(body)
            ngx.header["Set-Cookie"] = { "a=1", "b=2" }
            if ngx.var.arg_n then
                for i = 1, tonumber(ngx.var.arg_n) do ngx.print(("x"):rep(1000)) end
            else
                ngx.header["Content-Length"] = #body
                ngx.print(body)
            end
        }
    }
}
--- config
location /p/ {
    client_max_body_size 30m;
    content_by_lua_block {
        local handler, err = require("zedcup").create_handler("web")
        local res
        res, err = handler:proxy_request()
        if not res then
            ngx.status = 502
            return ngx.say(err)
        end
        local ok
        ok, err = handler:proxy_response(res)
        if not ok then
            ngx.log(ngx.WARN, "broken off: ", err)
            return ngx.exit(ngx.ERROR)
        end
        handler:set_keepalive()
    }
}
--- lua
f.configure("web", { { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, f.hosts(4)[4] })
local function try(method, path, body, headers)
    local http = require("zedcup.http").new()
    http:set_timeouts(1000, 5000, 5000)
    local res = assert(http:request_uri("http://127.0.0.1:" .. ngx.var.server_port .. path,
                       { method = method, body = body, headers = headers }))
    local cookies = res.headers["Set-Cookie"]
    f.say(res.status, res.headers["X-Seen"], #res.body, cookies and table.concat(cookies, ";"))
end
local function pieces(n, size)
    local i = 0
    return function() i = i + 1 return i <= n and ("y"):rep(size) or nil end
end
try("GET", "/p/a%20b?c=d%20e", nil, { ["X-From"] = "me" })
try("HEAD", "/p/x")
try("POST", "/p/x", "hello")
try("POST", "/p/x", ("z"):rep(2000000))
try("POST", "/p/x", pieces(5, 1000))
try("PUT", "/p/x", pieces(300, 10000))
try("GET", "/p/x?n=3")
try("GET", "/p/x?n=3000")
try("POST", "/p/x?n=1", "")
try("DELETE", "/p/x")
--- response_body
201 GET /p/a%20b?c=d%20e me 0 d41d8cd98f00b204e9800998ecf8427e 0 a=1;b=2
201 HEAD /p/x - 0 d41d8cd98f00b204e9800998ecf8427e 0 a=1;b=2
201 POST /p/x - 5 5d41402abc4b2a76b9719d911017c592 5 a=1;b=2
201 POST /p/x - 2000000 6a9695546aea00e84542edc664626c31 2000000 a=1;b=2
201 POST /p/x - 5000 a1afb2336d5b67da1f874c942dcf58f3 5000 a=1;b=2
201 PUT /p/x - 3000000 67a78c7113fb2ec7a6e783e39c4270ca 3000000 a=1;b=2
201 GET /p/x?n=3 - 0 d41d8cd98f00b204e9800998ecf8427e 3000 a=1;b=2
201 GET /p/x?n=3000 - 0 d41d8cd98f00b204e9800998ecf8427e 3000000 a=1;b=2
201 POST /p/x?n=1 - 0 d41d8cd98f00b204e9800998ecf8427e 1000 a=1;b=2
201 DELETE /p/x - 0 d41d8cd98f00b204e9800998ecf8427e 0 a=1;b=2



=== TEST 19: get_client_body_reader() as the body of a request
--- backends: 1
--- config
location = /up {
    content_by_lua_block {
        local handler = require("zedcup").create_handler("web")
        local reader, err = handler:get_client_body_reader(4)
        if not reader then return ngx.say("no reader: ", err) end
        local res
        res, err = handler:request({ method = "POST", path = "/echo", body = reader,
                                     headers = { ["Content-Length"] = ngx.var.http_content_length } })
        ngx.print(res and res:read_body() or err)
        handler:set_keepalive()
    }
}
--- lua
f.configure("web", f.hosts(1))
for _, body in ipairs({ "0123456789", "x" }) do
    local http = require("zedcup.http").new()
    f.say(http:request_uri("http://127.0.0.1:" .. ngx.var.server_port .. "/up",
                           { method = "POST", body = body }).body)
end
f.say((zedcup.create_handler("web"):get_client_body_reader()))
f.say(zedcup.create_handler("web"):get_client_body_reader("x"))
--- response_body
POST /echo 0123456789
POST /echo x
nil
nil bad chunk size



=== TEST 20: in the place of a resty-http object
--- backends: 1
--- lua
-- what code written for lua-resty-http does with its object
local function user(httpc)
    httpc:set_timeout(1000)
    local res, err = httpc:request({ path = "/echo", method = "POST", body = "x",
                                     headers = { ["Content-Type"] = "text/plain" } })
    if not res then return nil, err end
    local body = ""
    local reader = res.body_reader
    repeat
        local chunk = reader(3)
        body = body .. (chunk or "")
    until not chunk
    local ok = httpc:set_keepalive()
    return res.status, res.reason, res.has_body, res.headers["content-TYPE"], body, ok
end
f.configure("web", f.hosts(1))
f.say(user(zedcup.create_handler("web")))
f.say(user(zedcup.create_handler("web")))
--- response_body
200 OK true text/plain POST /echo x 1
200 OK true text/plain POST /echo x 1



=== TEST 21: config() is the caller's own copy
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
local handler = zedcup.create_handler("web")
local config = handler:config()
config.pools[1].hosts[1].port = 1
config.pools[1].hosts[2].host = "elsewhere"
config.pools[1].up = false
config.pools[1].status_codes["2xx"] = true
config.ssl = true
table.remove(config.pools[1].hosts)
config.pools[2] = {}
f.say(f.tally("web", 4))
f.say(f.ask(handler))
local again = handler:config()
f.say(#again.pools, #again.pools[1].hosts, again.pools[1].hosts[1].port, again.pools[1].up, again.ssl)
f.say(again ~= handler:config(), again.pools[1] ~= handler:config().pools[1])
--- response_body
b1=2 b2=2 false
b1 200 nil
1 2 PORT1 true false
true true



=== TEST 22: a rewrite during a request leaves the handler what it began with
--- backends: 2
--- lua
local h = f.hosts(2)
f.configure("web", { h[1] })
local handler = zedcup.create_handler("web")
f.say(f.ask(handler))
f.configure("web", { h[2] })
f.say(f.ask(handler), f.ask(zedcup.create_handler("web")))
f.say(handler:config().pools[1].hosts[1].name)
--- response_body
b1 200 nil
b1 b2 200 nil
b1
