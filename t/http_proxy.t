# Passing the current request on and its answer back with zedcup.http.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: method, URI, arguments, headers and body reach the backend
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.header["X-Seen"] = ngx.var.http_x_own
            ngx.header["Set-Cookie"] = { "a=1", "b=2" }
            ngx.status = 201
            ngx.print(ngx.req.get_method(), " ", ngx.var.request_uri, " ",
                      ngx.var.http_host, " ", ngx.var.http_content_length or "-", " ",
                      tostring(ngx.var.http_transfer_encoding), " ",
                      tostring(ngx.var.http_keep_alive), " ",
                      tostring(ngx.var.http_x_hop), " ",
                      tostring(ngx.req.get_body_data()))
        }
    }
}
--- config
location ~ ^/ {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local res, err = c:proxy_request()
        assert(res, err)
        assert(c:proxy_response(res))
        assert(c:set_keepalive() == 1)
    }
}
--- request
PUT /a%20b%3F/%25?x=%20y
hello
--- more_headers
Host: own.example
X-Own: 1
X-Hop: 2
Connection: X-Hop, close
Keep-Alive: timeout=5
--- response_headers
X-Seen: 1
Set-Cookie: a=1, b=2
--- response_body chomp
PUT /a%20b%3F/%25?x=%20y own.example 5 nil nil nil hello
--- error_code: 201
--- no_error_log
[error]



=== TEST 2: a chunked body goes on in chunks
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.var.http_transfer_encoding, " ", ngx.req.get_body_data())
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        assert(c:proxy_response(assert(c:proxy_request(4))))
    }
}
--- raw_request eval
"PUT /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r
\r
5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
--- response_body chomp
chunked hello world
--- no_error_log
[error]



=== TEST 3: a request without a body and an answer without one
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        add_header X-Method $request_method;
        add_header X-Len "$http_content_length$http_transfer_encoding";
        return 204;
    }
}
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local reader, err = c:get_client_body_reader()
        assert(reader == nil and err == nil)
        assert(c:proxy_response(assert(c:proxy_request())))
        assert(c:set_keepalive() == 1)
    }
}
--- request
HEAD /t
--- response_headers
X-Method: HEAD
! X-Len
--- response_body
--- error_code: 204
--- no_error_log
[error]



=== TEST 4: a body that nginx has read already, in memory or in a file
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    client_body_buffer_size 1m;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.md5(ngx.req.get_body_data()))
        }
    }
}
--- config
client_body_buffer_size 1k;
location = /t {
    content_by_lua_block {
        ngx.req.read_body()
        assert(ngx.req.get_body_file())
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        assert(c:proxy_response(assert(c:proxy_request(1000))))
        assert(c:set_keepalive() == 1)
    }
}
--- request eval
"POST /t\n" . ("0123456789" x 2000)
--- response_body eval
use Digest::MD5; Digest::MD5::md5_hex("0123456789" x 2000)
--- no_error_log
[error]



=== TEST 5: the reader of the client's body hands out pieces up to a size
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        local reader = assert(c:get_client_body_reader(4))
        ngx.say(reader(), "|", reader(2), "|", reader(100), "|", reader())
        ngx.say(c:get_client_body_reader("x"))
        ngx.say(c:proxy_response({}, 0))
    }
}
--- request
POST /t
hello world
--- response_body
hell|o |world|nil
nilbad chunk size
nilbad chunk size
--- no_error_log
[error]



=== TEST 6: an answer that breaks off is an error, and the client can be made to see it
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            require("raw_server").serve({ "HTTP/1.1 200 OK\r\n"
                .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" })
        }
    }
}
--- config
location = /cut {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        local ok, err = c:proxy_response(assert(c:proxy_request()))
        ngx.log(ngx.WARN, "proxied: ", ok, " ", err)
        return ngx.exit(ngx.ERROR)
    }
}
location = /t {
    content_by_lua_block {
        local res, err = require("zedcup.http").new():request_uri(
            "http://127.0.0.1:$TEST_NGINX_SERVER_PORT/cut")
        ngx.say(res, " ", err)
    }
}
--- response_body
nil closed before the end of the body
--- error_log
proxied: nil closed before the end of the body



=== TEST 7: a request split by smuggled bytes in the URI does not reach the backend as two
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$request_uri"; }
}
--- config
location ~ ^/ {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        assert(c:proxy_response(assert(c:proxy_request())))
    }
}
--- request
GET /a%0d%0aX:%20y%20HTTP/1.1%ff
--- response_body chomp
/a%0D%0AX:%20y%20HTTP/1.1%FF
--- error_code: 200



=== TEST 8: a chunked body off a socket that the caller gives
--- config
location = /t {
    content_by_lua_block {
        local chunked = ngx.var.http_transfer_encoding
        local sock = assert(ngx.req.socket(true))
        sock:settimeout(2000)
        local read = assert(require("zedcup.http"):get_client_body_reader(4, sock))
        local pieces = {}
        local piece, err = read()
        while piece do
            pieces[#pieces + 1] = piece
            piece, err = read()
        end
        sock:send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" .. chunked .. " "
                  .. table.concat(pieces) .. " " .. tostring(err) .. " "
                  .. tostring((select(2, read()))) .. "\n")
    }
}
--- raw_request eval
["PUT /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
 "4\r\nhell\r\n", "1\r\no\r\n2;x=1\r\n w\r\n4\r\norld\r\n", "0\r\nX-Trailer: 1\r\n\r\n"]
--- response_body
chunked hello world nil nil
--- no_error_log
[error]



=== TEST 9: chunks that are none are an error, again and again
--- config
location = /t {
    content_by_lua_block {
        local sock = assert(ngx.req.socket(true))
        local read = assert(require("zedcup.http"):get_client_body_reader(100, sock))
        local first, _, again = read(), read(), nil
        _, again = read()
        sock:send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" .. first .. " " .. again .. "\n")
    }
}
--- raw_request eval
"PUT /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n"
--- response_body
hi bad chunk size
--- no_error_log
[error]
