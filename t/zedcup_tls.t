# TLS towards hosts: verification, names, and pools that are never shared.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

certificate('web.example');
certificate('other.example');

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
    $block->set_value('http_config', ($block->http_config // '') . $servers);
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
