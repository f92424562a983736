# Connecting, reuse of connections, and what a failed exchange tells, over real
# cosockets.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: a connection is reused, with either form of connect()
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$connection_requests $http_host"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        for i = 1, 2 do
            local c = http.new()
            assert(c:set_timeouts(1000, 1000, 1000))
            assert(c:connect("127.0.0.1", port, { pool_size = 4 }))
            local body = c:request({ path = "/" }):read_body()
            ngx.say(c:get_reused_times(), " ", (body:gsub(port, "PORT")), " ", c:set_keepalive(1000, 10))
        end
        local c = http.new()
        assert(c:set_timeout(1000))
        assert(c:connect({ host = "127.0.0.1", port = port }))
        ngx.say(c:request({}):read_body():gsub(port, "PORT"), " ", c:close())
    }
}
--- response_body
0 1 127.0.0.1:PORT 1
1 2 127.0.0.1:PORT 1
3 127.0.0.1:PORT 1
--- no_error_log
[error]



=== TEST 2: a cosocket that the caller connected is wrapped
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$http_host"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        for _, authority in ipairs({ "a.example", "[::1]:81" }) do
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
            local c = assert(http.wrap(sock, authority))
            ngx.say(c:request({ path = "/" }):read_body(), " ", c:set_keepalive())
        end
        ngx.say(http.wrap(sock))
        ngx.say(http.wrap({}))
        ngx.say(http.wrap(ngx.socket.tcp(), "a\r\nb"))
    }
}
--- response_body
a.example 1
[::1]:81 1
nilbad socket: a cosocket expected
nilbad socket: a cosocket expected
nilbad authority
--- no_error_log
[error]



=== TEST 3: unix sockets and IPv6 addresses, with or without brackets
--- http_config
server {
    listen unix:$TEST_NGINX_SOCKET_DIR/s.sock;
    listen [::1]:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$http_host"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        local function try(...)
            local c = http.new()
            local ok, err = c:connect(...)
            if not ok then return ngx.say(err) end
            ngx.say((c:request({}):read_body():gsub(port, "PORT")), " ", c:set_keepalive())
        end
        try("unix:$TEST_NGINX_SOCKET_DIR/s.sock")
        try("unix:$TEST_NGINX_SOCKET_DIR/s.sock", 0/0)
        try("unix:$TEST_NGINX_SOCKET_DIR/s.sock", { pool_size = 2 })
        try({ host = "unix:$TEST_NGINX_SOCKET_DIR/s.sock" })
        try("[::1]", port)
        try("::1", port)
    }
}
--- response_body
localhost 1
localhost 1
localhost 1
localhost 1
[::1]:PORT 1
[::1]:PORT 1
--- no_error_log
[error]



=== TEST 4: arguments that are none of their kind give nil and a text
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function say(...) ngx.say(tostring((...)), " ", tostring(select(2, ...))) end
        local c = http.new()
        say(c:connect())
        say(c:connect(5, 80))
        say(c:connect("a b", 80))
        say(c:connect("127.0.0.1\r\n", 80))
        say(c:connect("127.0.0.1", 65536))
        say(c:connect("127.0.0.1", "x"))
        say(c:connect("127.0.0.1", 80, 5))
        say(c:connect("127.0.0.1", 80, { pool = {} }))
        say(c:connect("127.0.0.1", 80, { pool_size = 0 }))
        say(c:connect("127.0.0.1", 80, { backlog = "x" }))
        say(c:connect({}))
        say(c:connect({ scheme = "ftp", host = "127.0.0.1" }))
        say(c:connect("127.0.0.1", $TEST_NGINX_CLOSED_PORT))
        say(c:request({}))
        say(c:set_timeout("x"))
        say(c:set_timeouts(1, -1, 1))
        say(c:set_keepalive("x"))
        say(c:set_keepalive(1, 0))
        say(c:get_reused_times())
        say(c:close())
        say(c:ssl_handshake(nil, {}))
        say(c:request_uri(5))
        say(c:request_uri("http://127.0.0.1/", 5))
        say(c:request_uri("ftp://127.0.0.1/"))
        say(c:request_uri("http://u:p@127.0.0.1/"))
        say(http.new():request({}))
    }
}
--- response_body
nil bad host
nil bad host
nil bad host
nil bad host
nil bad port
nil bad port
nil bad options: a table expected
nil bad option pool
nil bad option pool_size
nil bad option backlog
nil bad host
nil bad scheme: http or https expected
nil connection refused
nil closed
nil bad timeout
nil bad timeout
nil bad timeout
nil bad pool size
nil closed
nil closed
nil bad server name
nil bad uri: a string expected
nil bad params: a table expected
nil bad uri: http:// or https:// expected
nil bad uri: user information is not supported
nil not connected
--- no_error_log
[error]



=== TEST 5: what must not be reused is closed, and the pool stays clean
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            local ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
            local answers = {
                ["/good"] = ok .. "\r\nhi",
                ["/close"] = ok .. "Connection: foo, CLOSE\r\n\r\nhi",
                ["/extra"] = ok .. "\r\nhiHTTP/1.1 200 OK",
                ["/old"] = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                ["/old-keep"] = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
                    .. "Content-Length: 2\r\n\r\nhi",
                ["/until-close"] = "HTTP/1.1 200 OK\r\n\r\nhi",
            }
            local linger = ngx.var.uri ~= "/until-close" and 0.3 or nil
            require("raw_server").serve({ answers[ngx.var.uri] }, linger)
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function try(path, skip_body, params)
            local c = http.new()
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT, { pool = path }))
            params = params or {}
            params.path = path
            local res = assert(c:request(params))
            local body = skip_body or res:read_body()
            ngx.say(path, " ", body, " ", c:set_keepalive())
            c = http.new()
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT, { pool = path }))
            ngx.say("  reused ", c:get_reused_times())
            c:close()
        end
        try("/good")
        try("/good", "unread")
        try("/close")
        try("/extra")
        try("/old")
        try("/old-keep")
        try("/until-close")
        try("/good", nil, { headers = { Connection = "Close" } })
        try("/good", nil, { version = 1.0 })
        try("/old-keep", nil, { version = 1.0, headers = { Connection = "Keep-Alive" } })
    }
}
--- response_body
/good hi 1
  reused 1
/good unread 2connection must be closed
  reused 0
/close hi 2connection must be closed
  reused 0
/extra hi 2connection must be closed
  reused 0
/old hi 2connection must be closed
  reused 0
/old-keep hi 1
  reused 1
/until-close hi 2connection must be closed
  reused 0
/good hi 2connection must be closed
  reused 0
/good hi 2connection must be closed
  reused 0
/old-keep hi 1
  reused 1
--- no_error_log
[error]



=== TEST 6: a connection that went stale in the pool is told from a bad answer
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            local ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            local answers = {
                ["/stale"] = { ok, "" },
                ["/cut"] = { ok, "HTTP/1.1 2" },
                ["/bad"] = { ok, "what?\r\n" },
            }
            require("raw_server").serve(answers[ngx.var.uri])
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function try(path)
            local c = http.new()
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT, { pool = path }))
            assert(c:request({ path = path }))
            assert(c:set_keepalive() == 1)
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT, { pool = path }))
            assert(c:get_reused_times() == 1)
            local _, err, stage = c:request({ path = path, method = "PUT", body = "x" })
            ngx.say(path, " ", stage, ": ", err, " ", c:request_sent(), " ",
                    c:response_started(), " ", c:body_replayable(), " ", (c:set_keepalive()))
        end
        try("/stale")
        try("/cut")
        try("/bad")
    }
}
--- response_body
/stale stale: closed true false true 2
/cut answer: closed inside the header true true true 2
/bad answer: bad status line: "what?\x0d" true true true 2
--- no_error_log
[error]



=== TEST 7: a fresh connection that closes without an answer, and a slow answer
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location /closes { content_by_lua_block { require("raw_server").serve({ "" }) } }
    location /slow { content_by_lua_block { require("raw_server").serve({ "" }, 0.5) } }
    location /stalls {
        content_by_lua_block {
            require("raw_server").serve({
                { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "half" } }, 0.5)
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function try(path)
            local c = http.new()
            c:set_timeouts(1000, 1000, 100)
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
            local res, err, stage = c:request({ path = path })
            if res then
                ngx.say(path, " ", res:read_body())
            else
                ngx.say(path, " ", stage, ": ", err, " ", c:response_started())
            end
            ngx.say(c:set_keepalive())
        end
        try("/closes")
        try("/slow")
        try("/stalls")
    }
}
--- response_body
/closes answer: closed false
2connection must be closed
/slow answer: timeout false
2connection must be closed
/stalls niltimeouthalf
2connection must be closed
--- no_error_log
[error]



=== TEST 8: a server that answers and closes while the body is still being sent is heard
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    client_max_body_size 100m;
    lingering_close off;
    location / {
        content_by_lua_block {
            require("raw_server").serve({ "HTTP/1.1 413 Too Large\r\n"
                .. "Connection: close\r\nContent-Length: 8\r\n\r\ntoo much" })
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local c = http.new()
        c:set_timeout(2000)
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local n = 0
        local res, err, stage = c:request({ method = "POST", path = "/",
            headers = { ["Content-Length"] = 200 * 65536 },
            body = function()
                n = n + 1
                ngx.sleep(0.001)
                return n <= 200 and ("x"):rep(65536) or nil
            end })
        -- a reset may take the answer with it; then the failure is the sending's
        ngx.say(res and res.status == 413 or stage == "send" or stage == "answer", " ",
                n < 200, " ", (c:set_keepalive()))
    }
}
--- response_body
true true 2
--- no_error_log
runtime error



=== TEST 9: request_uri() does it all, and params come before the URI
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$request_method $request_uri $http_host"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        local base = "http://127.0.0.1:" .. port
        local function try(uri, params)
            local res, err = http.new():request_uri(uri, params)
            ngx.say(res and res.status .. " " .. res.body:gsub(port, "PORT") or err)
        end
        try(base)
        try(base .. "/a?b=c#d")
        try(base .. "?b=c")
        try(base .. "/a?b=c", { method = "POST", path = "/x" })
        try(base .. "/a?b=c", { query = { d = 1 } })
        try("http://localhost:1/z", { host = "127.0.0.1", port = port, keepalive = false })
        try("http://127.0.0.1:$TEST_NGINX_CLOSED_PORT/")
        local unpacked = http.new():parse_uri("HTTPS://[::1]/a?b")
        ngx.say(table.concat(unpacked, " "))
        ngx.say(table.concat(http.new():parse_uri("http://h:8080", false), " "))
    }
}
--- response_body
200 GET / 127.0.0.1:PORT
200 GET /a?b=c 127.0.0.1:PORT
200 GET /?b=c 127.0.0.1:PORT
200 POST /x 127.0.0.1:PORT
200 GET /a?d=1 127.0.0.1:PORT
200 GET /z 127.0.0.1:PORT
connection refused
https [::1] 443 /a?b
http h 8080 / 
--- no_error_log
[error]



=== TEST 10: a large answer and a large request go through whole
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    client_max_body_size 8m;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            local body = ngx.req.get_body_data()
            if not body then
                body = io.open(ngx.req.get_body_file()):read("*a")
            end
            if ngx.var.arg_length then ngx.header.content_length = #body end
            ngx.print(body)
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local text = {}
        for i = 1, 200000 do text[i] = i .. "," end
        text = table.concat(text)
        local function try(query, body, read)
            local c = http.new()
            c:set_timeout(2000)
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
            local res = assert(c:request({ method = "PUT", query = query, body = body }))
            local got = read(res)
            ngx.say(got == text, " ", (c:set_keepalive()))
        end
        local function whole(res) return res:read_body() end
        local function pieces(res)
            local out = {}
            for piece in res.body_reader, 5000 do out[#out + 1] = piece end
            return table.concat(out)
        end
        local at = 1
        local function iterator()
            local piece = text:sub(at, at + 99999)
            at = at + 100000
            return piece ~= "" and piece or nil
        end
        try(nil, text, whole)
        try("length=1", text, whole)
        try("length=1", { text:sub(1, 5), text:sub(6) }, pieces)
        try(nil, iterator, pieces)
    }
}
--- response_body
true 1
true 1
true 1
true 1
--- no_error_log
[error]



=== TEST 11: a fresh connection whose first request was refused goes into the pool
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$connection_requests"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        for _ = 1, 2 do
            local c = http.new()
            assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
            local res, err, stage = c:request({ path = "/a b" })
            ngx.say(c:get_reused_times(), " ", res, " ", stage, " ", c:set_keepalive(1000, 10))
        end
    }
}
--- response_body
0 nil request 1
1 nil request 1
--- no_error_log
[error]
