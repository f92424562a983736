# Hosts given by name: resolved by nginx's resolver, followed as the records
# change, their addresses shared into the balancing.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use DnsServer;

worker_connections(256);
master_on();
certificate('web.test');
DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});

# the same port on several addresses: each says which one it is
our $servers = <<'END';
resolver 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
    listen [::1]:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$server_addr"; }
    location = /host { return 200 "$http_host"; }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    my $own = $block->http_config // '';
    my $common = $own =~ /no resolver/ ? $servers =~ s/resolver.*?;//r : $servers;
    $block->set_value('http_config', $own . $common . <<'END');
    init_worker_by_lua_block {
        require("dns_fixture").setup("$TEST_NGINX_DNS_FILE")
        require("zedcup").run_workers()
    }
END
});

run_tests();

__DATA__

=== TEST 1: a name that does not exist fails its host only, and is found once it does
--- lua
local dns = require("dns_fixture")
dns.set()
f.configure("web", { { name = "a", host = "none.test", port = $TEST_NGINX_BACKEND_PORT },
                     { name = "b", host = "127.0.0.2", port = $TEST_NGINX_BACKEND_PORT } })
local said
local function ask()
    f.forget()
    local handler = zedcup.create_handler("web")
    handler:bind("host_connect_error", function(data) said = data.host.name .. ": " .. data.err end)
    return (f.ask(handler))
end
f.say(ask(), ask())
f.say(said)
dns.set("none.test 60 127.0.0.3")
f.wait(10, function() return ask() == "127.0.0.3" end)
f.say("found")
--- response_body
127.0.0.2 127.0.0.2
a: none.test could not be resolved (3: Host not found)
found
--- timeout: 20



=== TEST 2: a host whose addresses are all dead is blamed once, and the next one serves
--- lua
local dns = require("dns_fixture")
dns.set("dead.test 60 127.0.0.8", "dead.test 60 127.0.0.9")
f.configure("web", { { name = "a", host = "dead.test", port = $TEST_NGINX_BACKEND_PORT },
                     { name = "b", host = "127.0.0.2", port = $TEST_NGINX_BACKEND_PORT } },
            { max_errors = 10 })
local errors = {}
zedcup.bind("host_connect_error", function(_, data) errors[#errors + 1] = data.host.name .. ": " .. data.err end)
for i = 1, 4 do
    f.forget()
    f.say((f.ask(zedcup.create_handler("web"))))
end
f.say(table.concat(errors, ", "))
--- response_body
127.0.0.2
127.0.0.2
127.0.0.2
127.0.0.2
a: connection refused, a: connection refused, a: connection refused, a: connection refused



=== TEST 3: without a resolver the error says what is missing; names of /etc/hosts need none
--- http_config
# no resolver
--- lua
f.configure("web", { { name = "a", host = "web.test", port = $TEST_NGINX_BACKEND_PORT } })
local said
local handler = zedcup.create_handler("web")
handler:bind("host_connect_error", function(data) said = data.err end)
f.say((f.ask(handler)), said)
f.configure("web", { { name = "a", host = "LocalHost", port = $TEST_NGINX_BACKEND_PORT } })
f.forget()
f.say((f.ask(zedcup.create_handler("web"))))
f.say(zedcup.create_handler("web"):connect():getreusedtimes())
--- response_body
ERROR: No available upstream hosts no resolver defined to resolve "web.test": nginx.conf needs a "resolver" directive
127.0.0.1
1



=== TEST 4: TLS to a name: the name is sent and checked whichever address is taken
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/web.test.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 ssl;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT2 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/web.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/web.test.key;
    location / { return 200 "$server_addr $ssl_server_name $connection_requests"; }
}
--- lua
local dns = require("dns_fixture")
dns.set("web.test 60 127.0.0.1", "web.test 60 127.0.0.2", "other.test 60 127.0.0.1")
local function configure(name)
    assert(zedcup.configure_instance("web", { ssl = true,
        pools = { { hosts = { { host = name, port = $TEST_NGINX_BACKEND_PORT2 } } } } }))
end
configure("web.test")
f.ask(zedcup.create_handler("web"))
local seen = {}
for i = 1, 4 do seen[i] = f.ask(zedcup.create_handler("web")) end
table.sort(seen)
for _, line in ipairs(seen) do f.say(line) end
configure("other.test")     -- another name at the same address: not on those connections
for _ = 1, 2 do
    f.forget()
    local handler = zedcup.create_handler("web")
    handler:bind("host_connect_error", function(data) f.say(data.err) end)
    f.ask(handler)
end
--- response_body
127.0.0.1 web.test 1
127.0.0.1 web.test 2
127.0.0.2 web.test 1
127.0.0.2 web.test 2
TLS handshake: certificate host mismatch
TLS handshake: certificate host mismatch



=== TEST 5: connect() of a client of another module takes its addresses in turn too
--- lua
local dns = require("dns_fixture")
dns.set("three.test 60 127.0.0.1", "three.test 60 127.0.0.2", "three.test 60 127.0.0.3")
f.configure("web", { { host = "three.test", port = $TEST_NGINX_BACKEND_PORT } })
assert(zedcup.create_handler("web"):connect()):close()
local seen = {}
for i = 1, 3 do
    local handler = zedcup.create_handler("web")
    local client = assert(handler:connect(require("zedcup.http").new()))
    seen[i] = client:request({}):read_body()
    handler:set_keepalive()
end
table.sort(seen)
f.say(table.concat(seen, " "))
--- response_body
127.0.0.1 127.0.0.2 127.0.0.3



=== TEST 6: workers come and go while a name is being asked for
--- http_config
resolver_timeout 30s;
--- config
location = /set {
    content_by_lua_block {
        require("dns_fixture").set("late.test 1 127.0.0.2")
        require("zedcup_fixture").configure("web", { { name = ngx.var.arg_name, host = "late.test",
                                                       port = $TEST_NGINX_BACKEND_PORT } })
        ngx.print((require("zedcup_fixture").ask(require("zedcup").create_handler("web"))))
    }
}
location = /mute {
    content_by_lua_block {
        local dns, f = require("dns_fixture"), require("zedcup_fixture")
        local before = dns.asked("late.test")
        dns.set("late.test silent")
        f.wait(5, function() return dns.asked("late.test") > before end)
        ngx.print((f.ask(require("zedcup").create_handler("web"))))
    }
}
--- script
for my $round (1 .. 3) {
    is(main::body_of("/set?name=h$round"), '127.0.0.2', 'a name is known');
    is(main::body_of('/mute'), '127.0.0.2', 'and is being asked for again');
    reload();
}
unlike(error_log(), qr/exited on signal|segfault/, 'every worker left in peace');
--- no_error_log
[alert]



=== TEST 7: a name that is given up while it is being asked for
--- http_config
resolver_timeout 1s;
--- lua
local dns, zffi = require("dns_fixture"), require("zedcup.ffi")
local function give_up(name)
    local before = dns.asked(name)
    assert(zffi.acquire_name(name))
    collectgarbage() collectgarbage()
    f.wait(5, function() return dns.asked(name) > before end)
    -- whoever else asks for it meanwhile gets the answer
    local sock = ngx.socket.tcp()
    f.say(name, sock:connect(name, $TEST_NGINX_BACKEND_PORT))
    ngx.sleep(0) -- through the event loop, where what was given up ends
end
dns.set("gone.test 1 127.0.0.1", "mute.test silent")
give_up("gone.test")
give_up("none.test")
give_up("mute.test")
-- known, then given up: not asked for again
local entry = assert(zffi.acquire_name("once.test"))
dns.set("once.test 1 127.0.0.1")
f.wait(5, function() return zffi.name_version(entry) > 0 end)
f.say(zffi.name_addresses(entry))
entry = nil
collectgarbage() collectgarbage()
local before = dns.asked("once.test")
ngx.sleep(2.5) -- past its time to live
f.say("asked again", dns.asked("once.test") - before)
--- response_body
gone.test 1
none.test nil none.test could not be resolved (3: Host not found)
mute.test nil mute.test could not be resolved (110: Operation timed out)
127.0.0.1 
asked again 0
--- no_error_log
[alert]
--- timeout: 20
