# TLS with zedcup.http: handshakes, verification, and pools that keep apart what
# has shaken hands in different ways.
use lib 't/lib';
use ZedcupTest 'no_plan';

certificate('good.test');
certificate('other.test');
certificate('address.test', san => 'IP:127.0.0.1,IP:::1');
certificate('client.test');
run_tests();

__DATA__

=== TEST 1: connect() with a table shakes hands, and reuse skips it
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/good.test.key;
    location / { return 200 "$scheme $ssl_server_name $connection_requests $http_host"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        for _ = 1, 2 do
            local c = http.new()
            local ok, err = c:connect({ scheme = "https", host = "127.0.0.1",
                                        port = port, ssl_server_name = "good.test" })
            if not ok then return ngx.say(err) end
            local body = c:request({ path = "/" }):read_body()
            ngx.say((body:gsub(port, "PORT")), " ", c:get_reused_times(), " ", (c:set_keepalive()))
        end
        -- not the pool of another name, nor of no verification, nor of plain TCP
        local function reused(o)
            local c = http.new()
            o.scheme, o.host, o.port = o.scheme or "https", "127.0.0.1", port
            local ok, err = c:connect(o)
            ngx.say(ok and c:get_reused_times() or err)
            c:close()
        end
        reused({ ssl_server_name = "good.test", ssl_verify = false })
        reused({ ssl_server_name = "x.test", ssl_verify = false })
        reused({ scheme = "http" })
        reused({ ssl_server_name = "good.test" })
    }
}
--- response_body
https good.test 1 127.0.0.1:PORT 0 1
https good.test 2 127.0.0.1:PORT 1 1
0
0
0
2
--- no_error_log
[error]



=== TEST 2: a certificate that is not trusted or has another name is refused
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
lua_socket_log_errors off;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/good.test.key;
    location / { return 200 "good"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/other.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/other.test.key;
    location / { return 200 "other"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local function try(port, name, verify)
            local res, err, stage = http.new():request_uri(
                "https://127.0.0.1:" .. port .. "/",
                { ssl_server_name = name, ssl_verify = verify })
            ngx.say(res and res.body or stage .. ": " .. err)
        end
        try($TEST_NGINX_BACKEND_PORT, "good.test")
        try($TEST_NGINX_BACKEND_PORT, "wrong.test")
        try($TEST_NGINX_BACKEND_PORT2, "other.test")
        try($TEST_NGINX_BACKEND_PORT2, "other.test", false)
    }
}
--- response_body
good
connect: certificate host mismatch
connect: 18: self-signed certificate
other
--- no_error_log
runtime error



=== TEST 3: ssl_handshake() on a connection made by connect(host, port)
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/good.test.key;
    location / { return 200 "$scheme $ssl_server_name"; }
}
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT, { pool = "tls" }))
        ngx.say(type(c:ssl_handshake(nil, "good.test", false)))
        ngx.say(c:request({}):read_body(), " ", c:set_keepalive())
        assert(c:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        ngx.say(c:ssl_handshake(false, "good.test"))
        ngx.say(c:request({}):read_body(), " ", c:set_keepalive())
    }
}
--- response_body
cdata
https good.test 1
true
https good.test 1
--- no_error_log
[error]



=== TEST 4: a server that does not speak TLS fails the handshake, not the request
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "plain"; }
}
--- config
location = /t {
    content_by_lua_block {
        local c = require("zedcup.http").new()
        c:set_timeout(1000)
        local ok, err = c:connect({ scheme = "https", host = "127.0.0.1",
                                    port = $TEST_NGINX_BACKEND_PORT, ssl_verify = false })
        ngx.say(ok, " ", type(err))
        ngx.say(c:request({}))
    }
}
--- response_body
nil string
nilclosedrequest
--- no_error_log
runtime error



=== TEST 5: without a name the certificate must be for the address; a unix socket needs a name
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/address.test.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT ssl;
    listen [::1]:$TEST_NGINX_BACKEND_PORT ssl;
    listen unix:$TEST_NGINX_SOCKET_DIR/tls.sock ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.test.key;
    location / { return 200 "'$ssl_server_name' $connection_requests"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http = require("zedcup.http")
        local port = $TEST_NGINX_BACKEND_PORT
        local function try(uri, params)
            local res, err, stage = http.new():request_uri(uri, params)
            ngx.say(res and res.body or stage .. ": " .. err)
        end
        try("https://127.0.0.1:" .. port .. "/")
        try("https://127.0.0.1:" .. port .. "/")
        try("https://[::1]:" .. port .. "/")
        try("https://127.0.0.2:" .. port .. "/")
        try("https://127.0.0.2:" .. port .. "/", { ssl_verify = false })
        try("https://127.0.0.1:" .. port .. "/", { ssl_server_name = "x.test" })
        try("https://127.0.0.1:" .. port .. "/", { ssl_server_name = "a b" })
        local unix = "unix:$TEST_NGINX_SOCKET_DIR/tls.sock"
        try("https://x/", { host = unix })
        try("https://x/", { host = unix, ssl_verify = false })
        try("https://x/", { host = unix, ssl_server_name = "address.test" })
    }
}
--- response_body
'' 1
'' 2
'' 1
connect: certificate host mismatch: it is not for the address 127.0.0.2
'' 1
connect: certificate host mismatch
connect: bad server name
connect: ssl_server_name is required to verify over a unix socket
'' 1
'address.test' 1
--- no_error_log
[alert]



=== TEST 6: a session handed back is resumed; connections with client certificates are kept apart
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
lua_ssl_protocols TLSv1.2;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/good.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/good.test.key;
    ssl_client_certificate $TEST_NGINX_CERT_DIR/client.test.crt;
    ssl_verify_client optional;
    ssl_session_cache shared:t:1m;
    location / { return 200 "$ssl_session_reused $ssl_client_s_dn $connection_requests"; }
}
--- config
location = /t {
    content_by_lua_block {
        local http, ssl = require("zedcup.http"), require("ngx.ssl")
        local function read(name)
            return assert(io.open("$TEST_NGINX_CERT_DIR/client.test." .. name)):read("*a")
        end
        local cert = assert(ssl.parse_pem_cert(read("crt")))
        local key = assert(ssl.parse_pem_priv_key(read("key")))
        local function try(o)
            o.scheme, o.host, o.port = "https", "127.0.0.1", $TEST_NGINX_BACKEND_PORT
            o.ssl_server_name = "good.test"
            local c = http.new()
            local ok, err, session = c:connect(o)
            if not ok then return ngx.say(err) end
            ngx.say(c:request({}):read_body(), " ", type(session))
            if o.keep then c:set_keepalive() else c:close() end
            return session
        end
        local session = try({ ssl_reused_session = true })
        try({ ssl_reused_session = session })
        try({})
        try({ keep = true })
        try({ ssl_client_cert = cert, ssl_client_priv_key = key, keep = true })
        try({ ssl_client_cert = cert, ssl_client_priv_key = key, keep = true })
        try({ keep = true })
        try({ ssl_client_cert = cert })
        try({ ssl_client_cert = "x", ssl_client_priv_key = "y" })
    }
}
--- response_body
.  1 cdata
r  1 cdata
.  1 boolean
.  1 boolean
. CN=client.test 1 boolean
. CN=client.test 2 nil
.  2 nil
client certificate must be supplied with corresponding private key
bad cert arg: cdata expected, got string
--- no_error_log
[alert]
