# In the place of lua-resty-http: what its README promises holds for zedcup.http,
# and what is not there says so.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: the methods of lua-resty-http are there, those without support say so
--- config
location = /t {
    content_by_lua_block {
        local c = assert(require("zedcup.http").new())
        for _, name in ipairs({ "connect", "set_timeout", "set_timeouts", "ssl_handshake",
                "set_keepalive", "get_reused_times", "close", "request", "request_uri", "parse_uri",
                "get_client_body_reader", "proxy_request", "proxy_response" }) do
            if type(c[name]) ~= "function" then ngx.say("no ", name) end
        end
        local function say(ok, err) ngx.say(tostring(ok), " ", err) end
        say(c:set_proxy_options({ http_proxy = "http://127.0.0.1:3128" }))
        say(c:connect_proxy("http://127.0.0.1:3128", "http", "h", 80))
        say(c:connect({ host = "127.0.0.1", port = 80, proxy_opts = {} }))
        say(c:request_uri("http://127.0.0.1/", { proxy_opts = { http_proxy = "x" } }))
        say(c:request_pipeline({ {}, {} }))
    }
}
--- response_body
nil proxies are not supported
nil proxies are not supported
nil proxies are not supported
nil proxies are not supported
nil pipelining is not supported
--- no_error_log
[error]



=== TEST 2: connect() with a table, in all its options
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen unix:$TEST_NGINX_SOCKET_DIR/resty.sock;
    location / { return 200 "$http_host $connection_requests"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        local function try(o)
            local c = http.new()
            local ok, err = c:connect(o)
            if not ok then return ngx.say(err) end
            local res = assert(c:request({}))
            ngx.say((res:read_body():gsub(port, "PORT")), " ", c:get_reused_times(), " ",
                    (c:set_keepalive(1000, 5)))
        end
        try({ host = "127.0.0.1", port = port })
        try({ scheme = "http", host = "127.0.0.1", port = tostring(port) })
        try({ scheme = "http", host = "127.0.0.1", port = port, pool = "own", pool_size = 1, backlog = 2 })
        try({ scheme = "http", host = "127.0.0.1", port = port, pool = "own" })
        try({ host = "unix:$TEST_NGINX_SOCKET_DIR/resty.sock" })
        try({ scheme = "http", host = "unix:$TEST_NGINX_SOCKET_DIR/resty.sock" })
        try({ host = "unix:$TEST_NGINX_SOCKET_DIR/missing.sock" })
        try({ host = "127.0.0.1", port = port, pool_size = "many" })
    }
}
--- response_body
127.0.0.1:PORT 1 0 1
127.0.0.1:PORT 2 1 1
127.0.0.1:PORT 1 0 1
127.0.0.1:PORT 2 1 1
localhost 1 0 1
localhost 2 1 1
no such file or directory
bad option pool_size
--- no_error_log
[alert]



=== TEST 3: request_uri() with every method, and what it does with the connection
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location = /empty { return 204; }
    location = /trailers {
        content_by_lua_block {
            require("raw_server").serve({ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                .. "Trailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n" })
        }
    }
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.header["X-Method"] = ngx.req.get_method()
            ngx.print(ngx.req.get_method(), " ", ngx.var.request_uri, " ",
                      ngx.req.get_body_data() or "-", " ", ngx.var.connection_requests)
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local base = "http://127.0.0.1:$TEST_NGINX_BACKEND_PORT"
        local function try(path, params)
            local c = http.new()
            local res, err, stage = c:request_uri(base .. path, params)
            if not res then return ngx.say(stage, ": ", err) end
            ngx.say(res.status, " ", res.reason, " ", res.headers.x_method or res.headers["x-sum"] or "-",
                    " '", res.body, "' ", tostring(res.has_body))
        end
        try("/a", { method = "HEAD" })
        try("/a", { method = "POST", body = "b", query = { k = { 1, 2 } } })
        try("/a", { method = "DELETE", body = { "x", "y", 1 } })
        try("/empty", { method = "PUT" })
        try("/trailers", { keepalive = false })
        try("/a", { method = "GET", version = 1.0 })
        try("/a", { keepalive = false })
        try("/a", { keepalive_timeout = 1000, keepalive_pool = 2 })
        try("/a", { keepalive_timeout = "x" })
        try("/a", { headers = { Host = "x\r\n" } })
        try("/a", { method = "A B" })
    }
}
--- response_body
200 OK HEAD '' false
200 OK POST 'POST /a?k=1&k=2 b 2' true
200 OK DELETE 'DELETE /a xy1 3' true
204 No Content - '' false
200 OK 7 'hi' true
200 OK GET 'GET /a - 1' true
200 OK GET 'GET /a - 1' true
200 OK GET 'GET /a - 1' true
200 OK GET 'GET /a - 2' true
request: bad value of header Host: a line break or NUL in it
request: bad method
--- no_error_log
[alert]



=== TEST 4: the iterator of the client's body as the body of a request: counted, and in chunks
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    client_max_body_size 4m;
    client_body_buffer_size 4m;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            local body = ngx.req.get_body_data() or ""
            ngx.print(#body, " ", ngx.md5(body), " ", ngx.var.http_content_length or "-", " ",
                      ngx.var.http_transfer_encoding or "-")
        }
    }
}
--- config
location = /front {
    client_max_body_size 4m;
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect({ scheme = "http", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT }))
        local reader, err = c:get_client_body_reader(1000)
        if err then return ngx.say("no reader: ", err) end
        local headers = {}
        if ngx.var.arg_length then headers["Content-Length"] = ngx.var.http_content_length end
        local res
        res, err = c:request({ method = "POST", body = reader, headers = headers })
        ngx.print(res and res:read_body() or err)
    }
}
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local text = ("0123456789abcdef"):rep(100000)
        local function try(query, body)
            local res, err = http.new():request_uri(
                "http://127.0.0.1:$TEST_NGINX_SERVER_PORT/front" .. query,
                { method = "POST", body = body })
            ngx.say(err or (res.body:gsub(ngx.md5(text), "whole")))
        end
        local function pieces()
            local at = 1
            return function()
                local piece = text:sub(at, at + 77776)
                at = at + 77777
                return piece ~= "" and piece or nil
            end
        end
        try("", text)                -- a length in, chunks out
        try("?length=1", text)       -- a length in, the same out
        try("", pieces())            -- chunks in, chunks out
    }
}
--- response_body
1600000 whole - chunked
1600000 whole 1600000 -
1600000 whole - chunked
--- no_error_log
[error]
--- timeout: 10



=== TEST 5: a client that breaks off its body fails the request, and not the connection's framing
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { content_by_lua_block { ngx.req.read_body() ngx.print("read") } }
}
--- config
lua_check_client_abort off;
location = /front {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local res, err, stage = c:request({ method = "POST", body = c:get_client_body_reader(),
            headers = { ["Content-Length"] = ngx.var.http_content_length } })
        ngx.log(ngx.WARN, "front: ", res, " ", stage, " ", err, " ", c:set_keepalive())
    }
}
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        assert(sock:send("POST /front HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"))
        sock:close()
        ngx.say("ok")
    }
}
--- response_body
ok
--- wait: 0.3
--- error_log eval
qr/front: nil body body iterator: .*2connection must be closed/
--- no_error_log
[alert]



=== TEST 6: proxy_response() with a bad argument, or too late
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "x"; }
}
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        local function say(ok, err) ngx.log(ngx.WARN, tostring(ok), " ", err) end
        say(c:proxy_response())
        say(c:proxy_response("x"))
        say(c:proxy_response({ status = 200 }))
        say(c:proxy_response({ status = 200, headers = {} }))
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local res = assert(c:request({}))
        ngx.say("sent")
        ngx.flush(true)
        say(c:proxy_response(res))
    }
}
--- response_body
sent
--- grep_error_log eval
qr/nil [a-z][^,]*(?=,)/
--- grep_error_log_out
nil bad answer: what request() returned expected
nil bad answer: what request() returned expected
nil bad answer: what request() returned expected
nil bad answer: what request() returned expected
nil the headers of this request have been sent



=== TEST 7: an answer of 100 MB to a slow reader does not pile up in the worker
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            local piece = ("x"):rep(1048576)
            ngx.header.content_length = ngx.var.uri == "/length" and 100 * #piece or nil
            for _ = 1, 100 do
                ngx.print(piece)
                if not ngx.flush(true) then return end
            end
        }
    }
}
--- config
location = /front {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        c:set_timeouts(1000, 20000, 20000)
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        assert(c:proxy_response(assert(c:request({ path = ngx.var.arg_path }))))
        assert(c:set_keepalive() == 1)
    }
}
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function resident()
            collectgarbage()
            collectgarbage()
            local file = io.open("/proc/self/status")
            local kb = tonumber(file:read("*a"):match("VmRSS:%s*(%d+)"))
            file:close()
            return kb
        end
        local function try(path)
            local c = http.new()
            c:set_timeouts(1000, 20000, 20000)
            assert(c:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            local res = assert(c:request({ path = "/front?path=" .. path }))
            local before, most, total, stops = resident(), 0, 0, 0
            for piece in res.body_reader, 65536 do
                total = total + #piece
                if total > stops * 10485760 then -- slow: everything behind fills up
                    stops = stops + 1
                    ngx.sleep(0.05)
                    most = math.max(most, resident())
                end
            end
            local grown = most - before
            ngx.say(path, " ", total, " ", grown < 30000 or grown .. " kB more", " ", (c:set_keepalive()))
        end
        try("/length")
        try("/chunked")
    }
}
--- response_body
/length 104857600 true 1
/chunked 104857600 true 1
--- no_error_log
[error]
--- timeout: 60



=== TEST 8: a request body of 100 MB flows no faster than the other side takes it
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    client_max_body_size 0;
    location / {
        content_by_lua_block {
            local sock = ngx.req.socket()
            local total, stops = 0, 0
            while true do
                local piece = sock:receiveany(65536)
                if not piece then break end
                total = total + #piece
                if total > stops * 10485760 then
                    stops = stops + 1
                    ngx.sleep(0.05)
                end
                if total == 104857600 then break end
            end
            ngx.print(total)
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local function resident()
            local file = io.open("/proc/self/status")
            local kb = tonumber(file:read("*a"):match("VmRSS:%s*(%d+)"))
            file:close()
            return kb
        end
        local piece, left, most = ("y"):rep(65536), 1600, 0
        local before = resident()
        local res = assert(require("zedcup.http").new():request_uri(
            "http://127.0.0.1:$TEST_NGINX_BACKEND_PORT/", {
                method = "PUT",
                headers = { ["Content-Length"] = 104857600 },
                body = function()
                    if left == 0 then return nil end
                    left = left - 1
                    if left % 100 == 0 then
                        collectgarbage()
                        most = math.max(most, resident())
                    end
                    return piece
                end,
            }))
        ngx.say(res.body, " ", most - before < 30000 or most - before)
    }
}
--- response_body
104857600 true
--- no_error_log
[error]
--- timeout: 60
