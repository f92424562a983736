# Reading the body of an answer with zedcup.http, from a fake cosocket.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: a body in chunks is joined, whatever its extensions and trailers
--- config
location = /t {
    content_by_lua_block {
        local function try(body)
            require("http_fixture").say(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. body)
        end
        try("0\r\n\r\n")
        try("2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n")
        try("A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n")
        try("0002;name=\"v\"; x\r\nhi\r\n0;y\r\nTrailer-A: b\r\n\r\n")
        try("2 \t\r\nhi\r\n0\r\n\r\n")
        try("2\nhi\n0\n\n")
    }
}
--- response_body
200 OK {Transfer-Encoding=chunked;} '' pooled
200 OK {Transfer-Encoding=chunked;} 'hiyou' pooled
200 OK {Transfer-Encoding=chunked;} '01234567890123456789' pooled
200 OK {Transfer-Encoding=chunked;} 'hi' pooled
200 OK {Transfer-Encoding=chunked;} 'hi' pooled
200 OK {Transfer-Encoding=chunked;} 'hi' pooled
--- no_error_log
[error]



=== TEST 2: chunks that are no chunks are errors
--- config
location = /t {
    content_by_lua_block {
        local function try(body)
            ngx.say((require("http_fixture").describe("GET", nil,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. body)
                :gsub("^.*} ", "")))
        end
        try("x\r\nhi\r\n")
        try("\r\nhi\r\n")
        try("-2\r\nhi\r\n")
        try("+2\r\nhi\r\n")
        try("0x2\r\nhi\r\n")
        try(" 2\r\nhi\r\n")
        try("2 2\r\nhi\r\n")
        try("2;a\rb\r\nhi\r\n")
        try("10000000000000002\r\nhi")
        try("FFFFFFFFFFFFFFFFFFFFFFFFF\r\nhi")
        try("2\r\nhix\r\n")
        try("2\r\nhi0\r\n\r\n")
        try("2\r\nhi\r\n0\r\nbad trailer\r\n\r\n")
        try("0;" .. ("x"):rep(5000) .. "\r\n\r\n")
    }
}
--- response_body
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: bad chunk size closed
body error: chunk size too large closed
body error: chunk size too large closed
body error: bad end of a chunk closed
body error: bad end of a chunk closed
body error: bad header line: "bad trailer" closed
body error: bad chunk size closed
--- no_error_log
[error]



=== TEST 3: a body that is cut short is an error, with what came of it
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(headers, body, err)
            local c, sock = fixture.client(
                "HTTP/1.1 200 OK\r\n" .. headers .. "\r\n" .. body)
            sock.err = err or "closed"
            local res = c:request({})
            local text, fail, partial = res:read_body()
            ngx.say(text, " ", fail, " '", partial, "' ", (c:set_keepalive()))
            ngx.say(res:read_body())
        end
        try("Content-Length: 5\r\n", "hi")
        try("Content-Length: 5\r\n", "hi", "timeout")
        try("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n")
        try("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n5\r\nyou")
        try("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n")
        try("", "hi", "connection reset by peer")
    }
}
--- response_body
nil closed before the end of the body 'hi' 2
nilclosed before the end of the body
nil timeout 'hi' 2
niltimeout
nil closed before the end of the body 'hi' 2
nilclosed before the end of the body
nil closed before the end of the body 'hiyou' 2
nilclosed before the end of the body
nil closed before the end of the body 'hi' 2
nilclosed before the end of the body
nil connection reset by peer 'hi' 2
nilconnection reset by peer
--- no_error_log
[error]



=== TEST 4: the reader hands out pieces up to a maximum and then nil for good
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local function try(headers, max, ...)
            local c = fixture.client("HTTP/1.1 200 OK\r\n" .. headers .. "\r\n", ...)
            local res = c:request({})
            local read, out = res.body_reader, {}
            for _ = 1, 20 do
                local piece, err = read(max)
                out[#out + 1] = piece or tostring(err)
                if not piece then break end
            end
            ngx.say(table.concat(out, "|"), " ", tostring(read(max)),
                    " ", (c:set_keepalive()))
        end
        try("Content-Length: 5\r\n", 2, "hel", "lo")
        try("Content-Length: 5\r\n", nil, "hel", "lo")
        try("Transfer-Encoding: chunked\r\n", 2, "5\r\nhe", "llo\r\n1\r\n!\r\n0\r\n\r\n")
        try("Transfer-Encoding: chunked\r\n", nil, "5\r\nhe", "llo\r\n1\r\n!\r\n0\r\n\r\n")
        try("", 2, "hel", "lo")
        try("", nil, "hel", "lo")
        try("", nil)
        try("Content-Length: 5\r\n", 0, "hello")
        try("Content-Length: 5\r\n", "2", "hello")
    }
}
--- response_body
he|ll|o|nil nil 1
hello|nil nil 1
he|ll|o|!|nil nil 1
hello|!|nil nil 1
he|l|lo|nil nil 2
hello|nil nil 2
nil nil 2
bad chunk size to read nil 2
bad chunk size to read nil 2
--- no_error_log
[error]



=== TEST 5: trailers go below the headers, those that must not are left out
--- config
location = /t {
    content_by_lua_block {
        local c = require("http_fixture").client("HTTP/1.1 200 OK\r\n"
            .. "Transfer-Encoding: chunked\r\nX-A: head\r\n\r\n2\r\nhi\r\n0\r\n"
            .. "x-a: tail\r\nX-Sum: 1\r\n 2\r\nX-Sum: 3\r\n"
            .. "Content-Length: 9\r\nSet-Cookie: a\r\n\r\n")
        local res = c:request({})
        ngx.say(res:read_trailers())
        ngx.say(res:read_body())
        local h = res:read_trailers()
        ngx.say(h == res.headers, " ", h["x-a"], " ", table.concat(h["x-sum"], ","),
                " ", h["content-length"], " ", h["set-cookie"])
        ngx.say(res:read_trailers() == h, " ", (c:set_keepalive()))
    }
}
--- response_body
nilthe body has not been read
hi
true head 1 2,3 nil nil
true 1
--- no_error_log
[error]



=== TEST 6: an answer must be read before the next request, and no byte may be left over
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        local c = fixture.client(one, one)
        local res = c:request({})
        ngx.say(c:request({}))
        res:read_body()
        ngx.say(c:request({}).status)
        ngx.say(c:set_keepalive())

        c = fixture.client(one .. "more", one)
        c:request({}):read_body()
        ngx.say(c:request({}))
        ngx.say(c:set_keepalive())

        c = fixture.client("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        c:request({})
        ngx.say(c:request({}))
    }
}
--- response_body
nilthe body of the answer before has not been readrequest
200
2connection must be closed
nilunexpected bytes after the answer beforerequest
2connection must be closed
nilclosedrequest
--- no_error_log
[error]
