# What zedcup.http sends: the head and body of a request, and what it refuses.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: a request without parameters is a GET of / with Host and User-Agent
--- config
location = /t {
    content_by_lua_block { require("http_fixture").say_request({}) }
}
--- response_body_like
^GET / HTTP/1.1\|Host: example.com\|User-Agent: zedcup/\S+ \(Lua\)\|\|$
--- no_error_log
[error]



=== TEST 2: method, path and query go into the request line
--- config
location = /t {
    content_by_lua_block {
        local say = function(p)
            p.headers = { ["User-Agent"] = "t" }
            require("http_fixture").say_request(p)
        end
        say({ method = "delete", path = "/a?b", query = "c=1" })
        say({ method = "GET", path = "/a", query = "?c=1" })
        say({ method = "GET", path = "/a", query = "" })
        say({ method = "GET", path = "/a", query = {} })
        say({ method = "GET", path = "/a", query = { x = "a b&\r\n" } })
        say({ method = "GET", path = "/a", query = { x = { 1, "z" } } })
        say({ method = "GET", path = "/a", query = { x = true } })
        say({ method = "OPTIONS", path = "*" })
        say({ path = "/", version = 1.0 })
        say({ path = "/", version = "1.1" })
    }
}
--- response_body
DELETE /a?b&c=1 HTTP/1.1|Host: example.com|User-Agent: t||
GET /a?c=1 HTTP/1.1|Host: example.com|User-Agent: t||
GET /a HTTP/1.1|Host: example.com|User-Agent: t||
GET /a HTTP/1.1|Host: example.com|User-Agent: t||
GET /a?x=a%20b%26%0D%0A HTTP/1.1|Host: example.com|User-Agent: t||
GET /a?x=1&x=z HTTP/1.1|Host: example.com|User-Agent: t||
GET /a?x HTTP/1.1|Host: example.com|User-Agent: t||
OPTIONS * HTTP/1.1|Host: example.com|User-Agent: t||
GET / HTTP/1.0|Host: example.com|User-Agent: t||
GET / HTTP/1.1|Host: example.com|User-Agent: t||
--- no_error_log
[error]



=== TEST 3: headers of the caller take the place of the default ones in any case
--- config
location = /t {
    content_by_lua_block {
        require("http_fixture").say_request({
            headers = { hOST = "other:81", ["user-agent"] = "me" },
        })
        require("http_fixture").say_request({
            headers = { Host = "h", ["User-Agent"] = "t", ["X-A"] = { 1, "b" } },
        })
    }
}
--- response_body
GET / HTTP/1.1|Host: other:81|User-Agent: me||
GET / HTTP/1.1|Host: h|User-Agent: t|X-A: 1|X-A: b||
--- no_error_log
[error]



=== TEST 4: line breaks and other smuggling are refused by name before any byte
--- config
location = /t {
    content_by_lua_block {
        local say = require("http_fixture").say_request
        say({ method = "GET / HTTP/1.1\r\nX:" })
        say({ method = "" })
        say({ method = {} })
        say({ path = "/a b" })
        say({ path = "/\r\nX: y" })
        say({ path = "/\0" })
        say({ path = "/\127" })
        say({ path = "" })
        say({ path = 5 })
        say({ query = "a=\nb" })
        say({ query = "a b" })
        say({ query = 5 })
        say({ query = { a = function() end } })
        say({ headers = { ["X\r\nY"] = "z" } })
        say({ headers = { ["X Y"] = "z" } })
        say({ headers = { ["X:"] = "z" } })
        say({ headers = { [""] = "z" } })
        say({ headers = { "X: z" } })
        say({ headers = { A = "b\r\nC: d" } })
        say({ headers = { A = "b\nC: d" } })
        say({ headers = { A = "b\0" } })
        say({ headers = { A = { "x", "b\rc" } } })
        say({ headers = { A = true } })
        say({ headers = { A = { {} } } })
        say({ headers = "A: b" })
        say({ headers = { Host = { "a", "b" } } })
        say({ version = 2 })
        say({ version = "HTTP/1.1" })
        say(nil)
    }
}
--- response_body
bad method (request, sent 0)
bad method (request, sent 0)
bad method (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad path: a string without spaces or control characters expected (request, sent 0)
bad query: spaces or control characters in it (request, sent 0)
bad query: spaces or control characters in it (request, sent 0)
bad query: a string or a table expected (request, sent 0)
bad query: attempt to use function as query arg value (request, sent 0)
bad header name (request, sent 0)
bad header name (request, sent 0)
bad header name (request, sent 0)
bad header name (request, sent 0)
bad header name (request, sent 0)
bad value of header A: a line break or NUL in it (request, sent 0)
bad value of header A: a line break or NUL in it (request, sent 0)
bad value of header A: a line break or NUL in it (request, sent 0)
bad value of header A: a line break or NUL in it (request, sent 0)
bad value of header A: a boolean (request, sent 0)
bad value of header A: a table (request, sent 0)
bad headers: a table expected (request, sent 0)
repeated header Host (request, sent 0)
bad version: 1.0 or 1.1 expected (request, sent 0)
bad version: 1.0 or 1.1 expected (request, sent 0)
bad params: a table expected (request, sent 0)
--- no_error_log
[error]



=== TEST 5: a body at hand goes out with its length
--- config
location = /t {
    content_by_lua_block {
        local say = function(p)
            p.headers = p.headers or {}
            p.headers["User-Agent"] = "t"
            require("http_fixture").say_request(p)
        end
        say({ method = "POST", body = "abc" })
        say({ method = "POST", body = { "ab", 1, "c" } })
        say({ method = "POST", body = 12 })
        say({ method = "POST", body = "" })
        say({ method = "POST" })
        say({ method = "GET", body = "x" })
        say({ method = "POST", body = "abc", headers = { ["content-length"] = 3 } })
        say({ method = "GET", headers = { ["content-length"] = "0" } })
    }
}
--- response_body
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3||abc
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 4||ab1c
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 2||12
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 0||
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 0||
GET / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 1||x
POST / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3||abc
GET / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 0||
--- no_error_log
[error]



=== TEST 6: an iterator goes out in chunks, or counted where a length is given
--- config
location = /t {
    content_by_lua_block {
        local function iterator(...)
            local pieces, i = { ... }, 0
            return function() i = i + 1; return pieces[i] end
        end
        local say = function(p)
            p.method = "PUT"
            p.headers = p.headers or {}
            p.headers["User-Agent"] = "t"
            require("http_fixture").say_request(p)
        end
        say({ body = iterator("abc", "", 12, ("x"):rep(17)) })
        say({ body = iterator() })
        say({ body = iterator("ab", "c"), headers = { ["Content-Length"] = 3 } })
        say({ body = "abc", headers = { ["Transfer-Encoding"] = "chunked" } })
        say({ body = { "a", "b" }, headers = { ["Transfer-Encoding"] = "gzip, chunked" } })
        say({ headers = { ["Transfer-Encoding"] = "chunked" } })
    }
}
--- response_body
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Transfer-Encoding: chunked||3|abc|2|12|11|xxxxxxxxxxxxxxxxx|0||
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Transfer-Encoding: chunked||0||
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3||abc
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Transfer-Encoding: chunked||3|abc|0||
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Transfer-Encoding: gzip, chunked||2|ab|0||
PUT / HTTP/1.1|Host: example.com|User-Agent: t|Transfer-Encoding: chunked||0||
--- no_error_log
[error]



=== TEST 7: a body that contradicts its headers is refused before any byte
--- config
location = /t {
    content_by_lua_block {
        local say = function(p)
            p.method = "POST"
            require("http_fixture").say_request(p)
        end
        local none = function() end
        say({ body = "abc", headers = { ["Content-Length"] = 4 } })
        say({ headers = { ["Content-Length"] = 4 } })
        say({ body = "abc", headers = { ["Content-Length"] = "+3" } })
        say({ body = "abc", headers = { ["Content-Length"] = { 3, 3 } } })
        say({ body = "abc", headers = { ["Content-Length"] = 3,
                                        ["Transfer-Encoding"] = "chunked" } })
        say({ body = none, headers = { ["Transfer-Encoding"] = "gzip" } })
        say({ body = none, version = 1.0 })
        say({ body = none, version = 1.0, headers = { ["Transfer-Encoding"] = "chunked" } })
        say({ body = true })
        say({ body = { "a", {} } })
    }
}
--- response_body
header Content-Length differs from the body's length (request, sent 0)
header Content-Length differs from the body's length (request, sent 0)
bad value of header Content-Length (request, sent 0)
repeated header Content-Length (request, sent 0)
headers Content-Length and Transfer-Encoding exclude each other (request, sent 0)
bad value of header Transfer-Encoding: not chunked (request, sent 0)
bad body: an iterator needs header Content-Length with version 1.0 (request, sent 0)
header Transfer-Encoding needs version 1.1 (request, sent 0)
bad body: a boolean (request, sent 0)
bad body: element 2 is a table (request, sent 0)
--- no_error_log
[error]



=== TEST 8: an iterator that fails breaks the connection and is not the host's fault
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(body, length)
            local c, sock = fixture.client("HTTP/1.1 200 OK\r\n\r\n")
            local res, err, stage = c:request({ method = "PUT", body = body,
                headers = { ["Content-Length"] = length } })
            local text = table.concat(sock.sent)
            ngx.say(res, " ", err, " (", stage, ") ",
                    text:find("0\r\n\r\n", 1, true) and "ended" or "cut", " ",
                    c:body_replayable(), " ", (c:set_keepalive()))
        end
        local function twice(text)
            local n = 0
            return function() n = n + 1; return n < 3 and text or nil end
        end
        try(function() return nil, "no more" end)
        try(function() error("boom", 0) end)
        try(function() return {} end)
        try(twice("abc"), 5)
        try(twice("abc"), 7)
    }
}
--- response_body
nil body iterator: no more (body) cut false 2
nil body iterator: boom (body) cut false 2
nil body iterator: returned a table (body) cut false 2
nil body iterator: more than Content-Length (body) cut false 2
nil body iterator: less than Content-Length (body) cut false 2
--- no_error_log
[error]



=== TEST 9: with Expect the body waits for a 100, and stays where a final answer comes
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(params, ...)
            local c, sock = fixture.client(...)
            params.method = "PUT"
            params.headers = { Expect = "100-continue", ["User-Agent"] = "t" }
            local res, err = c:request(params)
            if res then
                res:read_body()
            end
            ngx.say(res and res.status or err, " ", #sock.sent, " ",
                    fixture.show(table.concat(sock.sent)), " ",
                    (c:set_keepalive()))
        end
        local OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        local CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n"
        local NO = "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
        try({ body = "abc" }, CONTINUE, OK)
        try({ body = "abc" }, "HTTP/1.1 103 Early Hints\r\n\r\n" .. CONTINUE, OK)
        try({ body = "abc" }, NO)
        try({ body = "" }, OK)
        try({ body = "abc", version = 1.0 }, OK)
    }
}
--- response_body
200 2 PUT / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3|Expect: 100-continue||abc 1
200 2 PUT / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3|Expect: 100-continue||abc 1
417 1 PUT / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 3|Expect: 100-continue|| 2
200 1 PUT / HTTP/1.1|Host: example.com|User-Agent: t|Content-Length: 0|| 1
200 1 PUT / HTTP/1.0|Host: example.com|User-Agent: t|Content-Length: 3||abc 2
--- no_error_log
[error]



=== TEST 10: a server that stays silent on Expect gets the body after a read time-out
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local c, sock = fixture.client()
        local timed_out = false
        local receive = sock.receiveany
        sock.receiveany = function(self, max)
            if not timed_out then
                timed_out = true
                return nil, "timeout"
            end
            self.pieces = { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }
            return receive(self, max)
        end
        local res, err = c:request({ method = "PUT", body = "abc",
                                     headers = { Expect = "100-continue" } })
        ngx.say(res and res.status or err, " ", sock.sent[2])
    }
}
--- response_body
200 abc
--- no_error_log
[error]



=== TEST 11: a failure to send says whether the connection was a reused one
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(send_err, reused, ...)
            local c, sock = fixture.client(...)
            sock.send_err, sock.reused = send_err, reused
            local res, err, stage = c:request({ method = "POST", body = "x" })
            ngx.say(res and res.status or stage .. ": " .. err, " ",
                    c:request_sent(), " ", c:response_started(), " ", (c:set_keepalive()))
        end
        try("broken pipe", 0)
        try("broken pipe", 1)
        try("connection reset by peer", 3)
        try("timeout", 1)
        try("broken pipe", 1, "HTTP/1.1 4")
        try("broken pipe", 1, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    }
}
--- response_body
send: broken pipe true false 2
stale: broken pipe true false 2
stale: connection reset by peer true false 2
send: timeout true false 2
answer: broken pipe true true 2
413 true true 2
--- no_error_log
[error]
