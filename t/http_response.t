# What zedcup.http makes of the head of an answer. The answers come from a fake
# cosocket; "|" stands for CRLF in what the blocks print.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: status, reason and headers of an answer
--- config
location = /t {
    content_by_lua_block {
        local say = require("http_fixture").say
        say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:b\r\n\r\nhi")
        say("HTTP/1.1 404 Not  Found \r\nContent-Length: 0\r\n\r\n")
        say("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
        say("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")
        say("HTTP/1.1 299 \200\r\nX: \t a b\t \r\nContent-Length: 0\r\nY:\r\n\r\n")
        say("\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }
}
--- response_body
200 OK {Content-Length=2;X-A=b;} 'hi' pooled
404 Not  Found  {Content-Length=0;} '' pooled
200  {Content-Length=0;} '' pooled
200  {Content-Length=0;} '' pooled
299 \xc8 {Content-Length=0;X=a b;Y=;} '' pooled
200 OK {Content-Length=0;} '' pooled
--- no_error_log
[error]



=== TEST 2: headers are found in any case, with repeats as an array, under their own names
--- config
location = /t {
    content_by_lua_block {
        local c = require("http_fixture").client("HTTP/1.1 200 OK\r\n"
            .. "Set-Cookie: a\r\nX-Long-NAME: 1\r\nset-cookie: b\r\n"
            .. "SET-COOKIE: c\r\nContent-Length: 0\r\n\r\n")
        local res = c:request({})
        local h = res.headers
        ngx.say(h["x-long-name"], h["X-Long-Name"], h.x_long_name, h["X-Long-NAME"])
        ngx.say(table.concat(h["set-cookie"], ","), " ", h["Set-Cookie"] == h.SET_COOKIE)
        ngx.say(h.absent, h[1], h["content-length"])
        local names = {}
        for name in pairs(h) do names[#names + 1] = name end
        table.sort(names)
        ngx.say(table.concat(names, ","))
        h["x-long-name"] = "2"
        h["new"] = "3"
        ngx.say(h["X-Long-NAME"], h.NEW, rawget(h, "x-long-name"))
        ngx.say(res.headers == h)
    }
}
--- response_body
1111
a,b,c true
nilnil0
Content-Length,Set-Cookie,X-Long-NAME
23nil
true
--- no_error_log
[error]



=== TEST 3: bare line feeds are let by and continued lines joined
--- config
location = /t {
    content_by_lua_block {
        local say = require("http_fixture").say
        say("HTTP/1.1 200 OK\nContent-Length: 2\nA: b\n\nhi")
        say("HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\td\r\nContent-Length: 2\r\n\r\nhi")
        say("HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nhi")
        say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA:\n b\n\n2\r\nhi\r\n0\r\n\r\n")
        say("HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nhi")
    }
}
--- response_body
200 OK {A=b;Content-Length=2;} 'hi' pooled
200 OK {A=b c d;Content-Length=2;} 'hi' pooled
200 OK {Content-Length=2;} 'hi' pooled
200 OK {A=b;Transfer-Encoding=chunked;} 'hi' pooled
error: bad header name: " A"
--- no_error_log
[error]



=== TEST 4: what is not an answer is a clear error
--- config
location = /t {
    content_by_lua_block {
        local say = require("http_fixture").say
        say("SSH-2.0-OpenSSH_9.2\r\n")
        say("S")
        say("HTTP/2 200\r\n\r\n")
        say("HTTP/1.2 200 OK\r\n\r\n")
        say("HTTP/1.1 20 OK\r\n\r\n")
        say("HTTP/1.1 099 OK\r\n\r\n")
        say("HTTP/1.1 2000 OK\r\n\r\n")
        say("HTTP/1.1  200 OK\r\n\r\n")
        say("HTTP/1.1 200 O\rK\r\n\r\n")
        say("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        say("HTTP/1.1 200 OK\r\nno colon\r\n\r\n")
        say("HTTP/1.1 200 OK\r\nA : b\r\n\r\n")
        say("HTTP/1.1 200 OK\r\n: b\r\n\r\n")
        say("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n")
        say("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n")
        say("HTTP/1.1 200 OK\r\nA: b\r\n")
        say("HTTP/1.1 200")
        say("")
        say()
    }
}
--- response_body
error: bad status line: "SSH-2.0-OpenSSH_9.2\x0d"
error: bad status line: "S"
error: bad status line: "HTTP/2 200\x0d"
error: bad status line: "HTTP/1.2 200 OK\x0d"
error: bad status line: "HTTP/1.1 20 OK\x0d"
error: bad status line: "HTTP/1.1 099 OK\x0d"
error: bad status line: "HTTP/1.1 2000 OK\x0d"
error: bad status line: "HTTP/1.1  200 OK\x0d"
error: bad status line: "HTTP/1.1 200 O\x0dK\x0d"
error: bad status line: "\x0d"
error: bad header line: "no colon"
error: bad header name: "A "
error: bad header name: ""
error: bad header line: a carriage return inside
error: bad header line: a NUL inside
error: closed inside the header
error: closed inside the header
error: closed inside the header
error: closed
--- no_error_log
[error]



=== TEST 5: lengths that do not agree or are none are errors
--- config
location = /t {
    content_by_lua_block {
        local function try(...)
            local lines = {}
            for i, value in ipairs({ ... }) do
                lines[i] = "Content-Length: " .. value .. "\r\n"
            end
            require("http_fixture").say("HTTP/1.1 200 OK\r\n"
                .. table.concat(lines) .. "\r\nhi")
        end
        try("2", "2")
        try("2, 2")
        try("002")
        try("2", "3")
        try("2, 3")
        try("-2")
        try("-0")
        try("1e+14")
        try("0.5")
        try("+2")
        try("0x2")
        try("2e0")
        try("2.0")
        try("")
        try("2 2")
        try("9007199254740993")
        try(("9"):rep(400))
    }
}
--- response_body
200 OK {Content-Length=2&2;} 'hi' pooled
200 OK {Content-Length=2, 2;} 'hi' pooled
200 OK {Content-Length=002;} 'hi' pooled
error: conflicting content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
error: bad content-length
--- no_error_log
[error]



=== TEST 6: a transfer coding comes before a length, and such a connection is not reused
--- config
location = /t {
    content_by_lua_block {
        local function try(version, headers, body)
            require("http_fixture").say("HTTP/" .. version .. " 200 OK\r\n"
                                        .. headers .. "\r\n" .. body)
        end
        local hi = "2\r\nhi\r\n0\r\n\r\n"
        try("1.1", "Transfer-Encoding: chunked\r\n", hi)
        try("1.1", "Transfer-Encoding: Chunked\r\nContent-Length: 99\r\n", hi)
        try("1.1", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", hi)
        try("1.0", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", hi)
        try("1.1", "Transfer-Encoding: gzip, chunked\r\n", hi)
        try("1.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", hi)
        try("1.1", "Transfer-Encoding: gzip\r\n", "to the end")
        try("1.1", "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n", "to the end")
        try("1.1", "Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "hi")
        try("1.1", "Transfer-Encoding: chunked, gzip\r\n", hi)
        try("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", hi)
    }
}
--- response_body
200 OK {Transfer-Encoding=chunked;} 'hi' pooled
200 OK {Content-Length=99;Transfer-Encoding=Chunked;} 'hi' closed
200 OK {Content-Length=1;Transfer-Encoding=chunked;} 'hi' closed
200 OK {Connection=keep-alive;Transfer-Encoding=chunked;} 'hi' closed
200 OK {Transfer-Encoding=gzip, chunked;} 'hi' pooled
200 OK {Transfer-Encoding=gzip&chunked;} 'hi' pooled
200 OK {Transfer-Encoding=gzip;} 'to the end' closed
200 OK {Content-Length=2;Transfer-Encoding=xchunked;} 'to the end' closed
200 OK {Content-Length=2;Transfer-Encoding=identity;} 'hi' pooled
error: bad transfer-encoding: chunked is not the last coding
error: bad transfer-encoding: chunked is not the last coding
--- no_error_log
[error]



=== TEST 7: HEAD, 204 and 304 have no body whatever their headers say
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(method, head)
            local c, sock = fixture.client("HTTP/1.1 " .. head .. "\r\n\r\n")
            local res = c:request({ method = method })
            ngx.say(res.status, " ", res.has_body, " '", res:read_body(), "' ",
                    res.body_reader(), " ", (c:set_keepalive()))
        end
        try("HEAD", "200 OK\r\nContent-Length: 99")
        try("HEAD", "200 OK\r\nTransfer-Encoding: chunked")
        try("GET", "304 Not Modified\r\nContent-Length: 99")
        try("GET", "204 No Content")
        try("GET", "204 No Content\r\nContent-Length: 0")
        try("GET", "204 No Content\r\nContent-Length: 99")
        try("GET", "204 No Content\r\nTransfer-Encoding: chunked")
        try("CONNECT", "200 OK")
        try("GET", "101 Switching Protocols\r\nUpgrade: x")
    }
}
--- response_body
200 false '' nil 1
200 false '' nil 1
304 false '' nil 1
204 false '' nil 1
204 false '' nil 1
204 false '' nil 2
204 false '' nil 2
200 false '' nil 2
101 false '' nil 2
--- no_error_log
[error]



=== TEST 8: interim answers are skipped, but not without end
--- config
location = /t {
    content_by_lua_block {
        local say = require("http_fixture").say
        local final = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        say("HTTP/1.1 100 Continue\r\n\r\n" .. final)
        say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n" .. final)
        say(("HTTP/1.1 102 Processing\r\n\r\n"):rep(40) .. final)
    }
}
--- response_body
200 OK {Content-Length=0;} '' pooled
200 OK {Content-Length=0;} '' pooled
error: too many interim answers
--- no_error_log
[error]



=== TEST 9: the header is limited in bytes and in lines
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(bytes, lines, head)
            local c = fixture.client(head)
            assert(c:set_limits(bytes, lines))
            local res, err = c:request({})
            ngx.say(res and res.status or err)
        end
        local head = "HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n"
        try(#head, 2, head)
        try(#head - 1, 2, head)
        try(#head, 1, head)
        try(nil, nil, "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(65000) .. "\r\n\r\n")
        try(nil, nil, "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(66000) .. "\r\n\r\n")
        try(nil, nil, "HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(257) .. "\r\n")
        try(10, nil, "HTTP/1.1 200 " .. ("x"):rep(20) .. "\r\n\r\n")
        ngx.say(fixture.client():set_limits(0))
        ngx.say(fixture.client():set_limits("1"))
    }
}
--- response_body
200
header too large
too many header lines
200
header too large
too many header lines
header too large
nilbad limits
nilbad limits
--- no_error_log
[error]



=== TEST 10: what follows the head of a 101 belongs to the new protocol
--- config
location = /t {
    content_by_lua_block {
        local c = require("http_fixture").client(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nfirst words")
        local res = c:request({ headers = { Connection = "upgrade", Upgrade = "x" } })
        ngx.say(res.status, " ", res.headers.upgrade, " ", c:take_unread())
        ngx.say(c:set_keepalive())
    }
}
--- response_body
101 x first words
2connection must be closed
--- no_error_log
[error]
