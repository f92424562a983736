# TLS towards hosts: verification, names, and pools that are never shared.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

certificate('web.example');
certificate('other.example');
certificate('ca.example');
certificate('address.example', san => 'IP:127.0.0.1,IP:::1', signed_by => 'ca.example');
certificate('named.example', signed_by => 'ca.example');
certificate('ended.example', ended => 1, signed_by => 'ca.example');
certificate('client.example', signed_by => 'ca.example');
certificate('stranger.example');

our $servers = <<'END';
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/web.example.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    server_name web.example;
    ssl_certificate $TEST_NGINX_CERT_DIR/web.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/web.example.key;
    location / { return 200 "$https $ssl_server_name $http_host $connection_requests"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/other.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/other.example.key;
    location / { return 200 "other $connection_requests"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT3;
    location / { return 200 "plain $connection_requests"; }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    my $own = $block->http_config // '';
    my $common = $own =~ /lua_ssl_trusted/ ? $servers =~ s/lua_ssl_trusted.*?;//r
        : $servers;
    $block->set_value('http_config', $own . $common);
});

run_tests();

__DATA__

=== TEST 1: verification by name; its failure names the reason and goes on to the next host
--- lua
local h = f.hosts(3)
local function try(what, ssl, hosts)
    assert(zedcup.remove_instance("web"))
    assert(zedcup.configure_instance("web", { ssl = ssl, pools = { { hosts = hosts } } }))
    f.forget()
    local said = {}
    local handler = zedcup.create_handler("web")
    handler:bind("host_connect_error", function(data) said[#said + 1] = data.host.name .. ": " .. data.err end)
    f.say(what .. ":", (f.ask(handler)), table.concat(said, ", "))
end
try("as named", { sni_name = "web.example" }, { h[1] })
try("verified by default", true, { h[2] })
try("another name", { sni_name = "wrong.example" }, { h[1] })
try("another CA", { sni_name = "other.example" }, { h[2] })
try("not verified", { ssl_verify = false }, { h[1] })
try("not verified, with a name", { ssl_verify = false, sni_name = "x.example" }, { h[1] })
try("no TLS there", { ssl_verify = false }, { h[3] })
try("the next one will do", { sni_name = "web.example" }, { h[2], h[3], h[1] })
--- response_body_like
^as named: on web\.example 127\.0\.0\.1:PORT1 1 
verified by default: ERROR: No available upstream hosts b2: TLS handshake: \d+: self[- ]signed certificate
another name: ERROR: No available upstream hosts b1: TLS handshake: certificate host mismatch
another CA: ERROR: No available upstream hosts b2: TLS handshake: \d+: self[- ]signed certificate
not verified: on  127\.0\.0\.1:PORT1 1 
not verified, with a name: on x\.example 127\.0\.0\.1:PORT1 1 
no TLS there: ERROR: No available upstream hosts b3: TLS handshake: .+
the next one will do: on web\.example 127\.0\.0\.1:PORT1 \d b2: TLS handshake: \d+: self[- ]signed certificate, b3: TLS handshake: [^,]+$
--- no_error_log
[alert]



=== TEST 2: connections are reused, but never across TLS settings
--- lua
local h = f.hosts(1)
local function try(name, ssl)
    assert(zedcup.configure_instance(name, { ssl = ssl, pools = { { hosts = h } } }))
    local handler = zedcup.create_handler(name)
    local res = handler:request({})
    f.say(name, res.status, handler:get_reused_times())
    res:read_body()
    handler:set_keepalive()
end
for _ = 1, 2 do
    try("verified", { sni_name = "web.example" })
    try("unverified", { sni_name = "web.example", ssl_verify = false })
    try("nameless", { ssl_verify = false })
end
-- plain to the same port: never on a TLS connection
assert(zedcup.configure_instance("plain", { pools = { { hosts = h } } }))
local handler = zedcup.create_handler("plain")
local res = handler:request({})
f.say("plain", res.status, handler:get_reused_times())
-- an instance that changes to verification does not take an unverified one
try("nameless", { sni_name = "wrong.example", ssl_verify = false })
assert(zedcup.configure_instance("nameless", { ssl = { sni_name = "wrong.example" }, pools = { { hosts = h } } }))
f.say(f.ask(zedcup.create_handler("nameless")))
--- response_body
verified 200 0
unverified 200 0
nameless 200 0
verified 200 1
unverified 200 1
nameless 200 1
plain 400 0
nameless 200 0
ERROR: No available upstream hosts
--- no_error_log
[alert]



=== TEST 3: two instances with the same settings share connections
--- lua
local h = f.hosts(3)
assert(zedcup.configure_instance("a", { pools = { { hosts = { h[3] } } } }))
assert(zedcup.configure_instance("b", { pools = { { hosts = { h[3] } } } }))
f.say(f.ask(zedcup.create_handler("a")))
f.say(f.ask(zedcup.create_handler("b")))
--- response_body
plain 1 200 nil
plain 2 200 nil



=== TEST 4: connect() has shaken hands: own cosocket, the caller's, a driver, a driver with its own
--- lua
assert(zedcup.configure_instance("web", { ssl = { sni_name = "web.example" }, pools = { { hosts = f.hosts(1) } } }))
local function talk(sock)
    assert(sock:send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    return sock:receive("*a"):match("\r\n\r\n(.*)")
end
f.say(talk(zedcup.create_handler("web"):connect()))
local own = ngx.socket.tcp()
f.say(talk(zedcup.create_handler("web"):connect(own)))
local function driver()
    return {
        sock = ngx.socket.tcp(),
        set_timeout = function(self, ms) self.sock:settimeout(ms) end,
        connect = function(self, ...) return self.sock:connect(...) end,
    }
end
f.say(talk(zedcup.create_handler("web"):connect(driver()).sock))
local with_own = driver()
with_own.ssl_handshake = function(self, session, name, verify)
    f.say("asked:", session, name, verify)
    return self.sock:sslhandshake(session, name, verify)
end
f.say(talk(zedcup.create_handler("web"):connect(with_own).sock))
local without = driver()
local sock = without.sock
without.sock = nil
without.connect = function(_, ...) return sock:connect(...) end
without.set_timeout = function() end
local said
zedcup.bind("host_connect_error", function(_, data) said = data.err end)
f.say(zedcup.create_handler("web"):connect(without))
f.say(said)
--- response_body
on web.example x 1
on web.example x 1
on web.example x 1
asked: false web.example true
on web.example x 1
nil No available upstream hosts
the client driver has no TLS handshake



=== TEST 5: a broken handshake counts as a failed connect and closes its socket
--- lua
assert(zedcup.configure_instance("web", { ssl = { ssl_verify = false }, pools = { { hosts = { f.hosts(3)[3] } } } }))
local handler = zedcup.create_handler("web")
local events = {}
for _, event in ipairs({ "host_connect", "host_connect_error", "host_request_error" }) do
    handler:bind(event, function() events[#events + 1] = event end)
end
f.say(handler:request({}))
f.say(table.concat(events, " "))
--- response_body
nil No available upstream hosts
host_connect_error
--- no_error_log
[alert]



=== TEST 6: a host known by its address wants a certificate for that address, or a name to expect
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT ssl;
    listen [::1]:$TEST_NGINX_EXTRA_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    location / { return 200 "sni '$ssl_server_name'"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4 ssl;
    listen unix:$TEST_NGINX_SOCKET_DIR/named.sock ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/named.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/named.example.key;
    location / { return 200 "named '$ssl_server_name'"; }
}
server {
    listen 127.0.0.2:$TEST_NGINX_EXTRA_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/ended.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/ended.example.key;
    location / { return 200 "ended"; }
}
--- lua
local function try(what, ssl, address, port)
    assert(zedcup.configure_instance("web", { ssl = ssl, pools = { { hosts = { { host = address, port = port } } } } }))
    f.forget()
    local said = ""
    local handler = zedcup.create_handler("web")
    handler:bind("host_connect_error", function(data) said = data.err end)
    f.say(what .. ":", (f.ask(handler)), said)
end
local extra, named = $TEST_NGINX_EXTRA_PORT, $TEST_NGINX_BACKEND_PORT4
try("address", true, "127.0.0.1", extra)
try("IPv6", true, "::1", extra)
try("an address as the name", { sni_name = "127.0.0.1" }, "127.0.0.1", extra)
try("another address as the name", { sni_name = "127.0.0.9" }, "127.0.0.1", extra)
try("no such address in it", true, "127.0.0.1", named)
try("not looked at", { ssl_verify = false }, "127.0.0.1", named)
try("the name", { sni_name = "named.example" }, "127.0.0.1", named)
try("the name in capitals", { sni_name = "NAMED.example" }, "127.0.0.1", named)
try("the wrong name", { sni_name = "other.example" }, "127.0.0.1", named)
try("ended", { sni_name = "ended.example" }, "127.0.0.2", extra)
try("unix", { sni_name = "named.example" }, "unix:$TEST_NGINX_SOCKET_DIR/named.sock")
try("unix, the wrong name", { sni_name = "other.example" }, "unix:$TEST_NGINX_SOCKET_DIR/named.sock")
--- response_body
address: sni '' 
IPv6: sni '' 
an address as the name: sni '' 
another address as the name: ERROR: No available upstream hosts TLS handshake: certificate host mismatch: it is not for the address 127.0.0.9
no such address in it: ERROR: No available upstream hosts TLS handshake: certificate host mismatch: it is not for the address 127.0.0.1
not looked at: named '' 
the name: named 'named.example' 
the name in capitals: named 'NAMED.example' 
the wrong name: ERROR: No available upstream hosts TLS handshake: certificate host mismatch
ended: ERROR: No available upstream hosts TLS handshake: 10: certificate has expired
unix: named 'named.example' 
unix, the wrong name: ERROR: No available upstream hosts TLS handshake: certificate host mismatch
--- no_error_log
[alert]



=== TEST 7: a session saves the next handshake with the same host, and no other
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
lua_ssl_protocols TLSv1.2;
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT ssl;
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    ssl_session_cache shared:t:1m;
    location / { return 200 "$ssl_session_reused $connection_requests"; }
}
--- lua
local function hosts(...)
    local list = {}
    for i, port in ipairs({ ... }) do list[i] = { host = "127.0.0.1", port = port } end
    return { { hosts = list } }
end
local one, two = $TEST_NGINX_EXTRA_PORT, $TEST_NGINX_BACKEND_PORT4
local function ask(name)
    local handler = zedcup.create_handler(name)
    local res, err = handler:request({ path = "/" })
    if not res then return f.say(name, err) end
    f.say(name, res:read_body())
    handler:close()
end
assert(zedcup.configure_instance("a", { ssl = true, pools = hosts(one) }))
assert(zedcup.configure_instance("b", { ssl = { ssl_verify = false }, pools = hosts(one) }))
assert(zedcup.configure_instance("c", { ssl = { ssl_verify = false }, pools = hosts(one, two) }))
ask("a") ask("a") ask("a")
ask("b") ask("b")
ask("c") ask("c") ask("c") ask("c")
-- what b's session was made with does not help once a name is expected
assert(zedcup.configure_instance("b", { ssl = { sni_name = "wrong.example" }, pools = hosts(one) }))
ask("b")
f.forget()
ask("b")
ask("a")
--- response_body
a . 1
a r 1
a r 1
b . 1
b r 1
c . 1
c . 1
c r 1
c r 1
b No available upstream hosts
b No available upstream hosts
a r 1
--- no_error_log
[alert]



=== TEST 8: with TLS 1.3 every handshake is whole and works
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
lua_ssl_protocols TLSv1.3;
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
}
--- lua
assert(zedcup.configure_instance("a", { ssl = true,
    pools = { { hosts = { { host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } } } } }))
for _ = 1, 2 do
    local handler = zedcup.create_handler("a")
    f.say(handler:request({}):read_body())
    handler:close()
end
--- response_body
TLSv1.3 .
TLSv1.3 .



=== TEST 9: a client certificate from files: shown, kept apart, and clear errors that blame no host
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    ssl_client_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
    ssl_verify_client optional_no_ca;
    location / { return 200 "$ssl_client_verify $ssl_client_s_dn $connection_requests"; }
}
--- lua
local dir = "$TEST_NGINX_CERT_DIR/"
local tries = 0
local function try(name, cert, key)
    tries = tries + 1 -- a name of its own makes each content a new one
    local ok, err = zedcup.configure_instance(name, {
        ssl = cert and { client_cert = cert, client_key = key } or true,
        pools = { { hosts = { { name = "h" .. tries, host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } } } } })
    if not ok then return f.say(name, err) end
    local handler = zedcup.create_handler(name)
    handler:bind("host_connect_error", function() f.say("blamed") end)
    local body, status = f.ask(handler)
    f.say(name, (body:gsub("/%S+/", "")), status)
end
local function copy(from, to)
    local text = assert(io.open(dir .. from)):read("*a")
    local out = assert(io.open(dir .. to, "w"))
    out:write(text)
    out:close()
end
local cert, key = dir .. "client.example.crt", dir .. "client.example.key"
try("good", cert, key)
try("same", cert, key)
try("none")
try("half", cert)
try("relative", "client.crt", key)
try("missing", dir .. "missing.crt", key)
try("junk", dir .. "client.example.cnf", key)
try("crossed", cert, cert)
try("endless", "/dev/zero", key)
os.execute("mkfifo " .. dir .. "pipe")
try("pipe", dir .. "pipe", key)
-- another certificate in the same file: taken with the next revision, on connections of its own
copy("client.example.crt", "own.crt") copy("client.example.key", "own.key")
try("own", dir .. "own.crt", dir .. "own.key")
copy("stranger.example.crt", "own.crt") copy("stranger.example.key", "own.key")
f.say("own", (f.ask(zedcup.create_handler("own"))))
try("own", dir .. "own.crt", dir .. "own.key")
local sock = assert(zedcup.create_handler("good"):connect(ngx.socket.tcp()))
f.say(sock:getreusedtimes())
f.say(zedcup.create_handler("missing"):connect(ngx.socket.tcp()))
--- response_body_like
^good SUCCESS CN=client\.example 1 200
same SUCCESS CN=client\.example 2 200
none NONE  1 200
half ssl\.client_key: required beside client_cert
relative ssl\.client_cert: expected an absolute path, got "client\.crt"
missing ERROR: ssl\.client_cert: missing\.crt: No such file or directory nil
junk ERROR: ssl\.client_cert: client\.example\.cnf: .+ nil
crossed ERROR: ssl\.client_key: client\.example\.crt: .+ nil
endless ERROR: ssl\.client_cert: zero: larger than 1 MiB nil
pipe ERROR: ssl\.client_cert: pipe: .+ nil
own SUCCESS CN=client\.example 3 200
own SUCCESS CN=client\.example 4
own FAILED:self[- ]signed certificate CN=stranger\.example 1 200
\d
nil ssl\.client_cert: .*missing\.crt: No such file or directory$
--- no_error_log
[alert]



=== TEST 10: a certificate that was missing is taken once it is there
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    ssl_client_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
    ssl_verify_client on;
    location / { return 200 "$ssl_client_s_dn"; }
}
--- lua
local dir = "$TEST_NGINX_CERT_DIR/"
assert(zedcup.configure_instance("web", {
    ssl = { client_cert = dir .. "late.crt", client_key = dir .. "client.example.key" },
    pools = { { hosts = { { host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } } } } }))
f.say((f.ask(zedcup.create_handler("web"))):match("^ERROR: ssl.client_cert"))
assert(os.rename(dir .. "client.example.crt", dir .. "late.crt"))
f.wait(5, function() return f.ask(zedcup.create_handler("web")) == "CN=client.example" end)
assert(os.rename(dir .. "late.crt", dir .. "client.example.crt"))
f.say("taken")
--- response_body
ERROR: ssl.client_cert
taken
