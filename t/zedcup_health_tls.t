# TLS of health checks: they find what requests find, with the same settings.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

certificate('ca.example');
certificate('address.example', san => 'IP:127.0.0.1', signed_by => 'ca.example');
certificate('named.example', signed_by => 'ca.example');
certificate('ended.example', san => 'IP:127.0.0.1', ended => 1, signed_by => 'ca.example');
certificate('client.example', signed_by => 'ca.example');

our $servers = <<'END';
lua_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    location / { return 200 "address"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/named.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/named.example.key;
    location / { return 200 "named"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT3 ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/ended.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/ended.example.key;
    location / { return 200 "ended"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4 ssl http2;
    ssl_certificate $TEST_NGINX_CERT_DIR/address.example.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/address.example.key;
    ssl_client_certificate $TEST_NGINX_CERT_DIR/ca.example.crt;
    ssl_verify_client on;
    location / { return 200 "client $ssl_client_s_dn"; }
    location = /grpc.health.v1.Health/Check {
        content_by_lua_block {
            ngx.req.read_body() -- or nginx resets the stream
            ngx.header["content-type"] = "application/grpc"
            ngx.header["grpc-status"] = "0"
            ngx.print("\0\0\0\0\2\8\1")
        }
    }
}
END

our $lua = <<'END';
local dir = "$TEST_NGINX_CERT_DIR/"
local ca = dir .. "ca.example.crt"
local pool = { max_errors = 2, error_timeout = 60 }
-- An instance of those backends (their numbers), checked each second.
local function configure(name, ssl, numbers, check)
    local all, hosts = f.hosts(4), {}
    for i, n in ipairs(numbers) do hosts[i] = all[n] end
    check = check or {}
    check.interval = 1
    pool.hosts = hosts
    assert(zedcup.configure_instance(name, { ssl = ssl, healthcheck = check, pools = { pool } }))
end
-- How many probes in a row were good, once that many were.
local function good_probes(name, host, n)
    local key = "state/" .. name .. "/1/" .. host .. "/last_check"
    local flags = function()
        local _, body = f.consul("GET", "/v1/kv/$TEST_NGINX_PREFIX/" .. key)
        return tonumber((body or ""):match('"Flags": ?(%d+)') or 0)
    end
    return f.wait(20, function() return flags() >= n end)
end
local function down(name, host)
    return f.stored()["instances/" .. name .. "/pools/1/hosts/" .. host .. "/up"] == "false"
end
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $servers);
    $block->set_value('lua', $lua . $block->lua);
});

$ZedcupStore::default_store = 'consul';
run_tests();

__DATA__

=== TEST 1: what serves requests passes its checks
--- lua
configure("address", { ca_cert = ca }, { 1 })
configure("named", { ca_cert = ca, sni_name = "named.example" }, { 2 })
configure("client", { ca_cert = ca, client_cert = dir .. "client.example.crt",
                      client_key = dir .. "client.example.key" }, { 4 })
configure("grpc", { ca_cert = ca, client_cert = dir .. "client.example.crt",
                    client_key = dir .. "client.example.key" }, { 4 }, { type = "grpc" })
for _, name in ipairs({ "address", "named", "client", "grpc" }) do
    f.say(name, (f.ask(zedcup.create_handler(name))), good_probes(name, 1, 2))
end
--- response_body
address address true
named named true
client client CN=client.example true
grpc client CN=client.example true
--- no_error_log
[error]
[alert]



=== TEST 2: what cannot serve requests is taken down by its checks
--- lua
configure("address", { ca_cert = ca }, { 1, 2, 3, 4 })
f.wait(20, function() return down("address", 2) and down("address", 3) end)
f.say(good_probes("address", 1, 2), down("address", 1))
f.say((f.ask(zedcup.create_handler("address"))))
f.wait(20, function() return down("address", 4) end)
--- response_body
true false
address
--- error_log
pools[1].hosts[2] fails its health check
pools[1].hosts[3] fails its health check
certificate has expired
pools[1].hosts[4] fails its health check
--- no_error_log
[alert]



=== TEST 3: without ca_cert a private authority blames no host, and is named once
--- lua
-- (2 has another name: whether that or the authority is said first is libcurl's)
configure("address", true, { 1, 4, 3 })
local function lines()
    local log, n = io.open(ngx.config.prefix() .. "logs/error.log"), 0
    for line in log:lines() do
        if line:find("address: health checks of its hosts count for nothing", 1, true) then
            n = n + 1
            f.say((line:match("ssl/ca_cert.*file")))
        end
    end
    log:close()
    return n
end
configure("clock", { ca_cert = ca }, { 1 })
good_probes("clock", 1, 5) -- so often were the others checked meanwhile
f.say(lines())
for host = 1, 3 do
    f.say(down("address", host), f.stored()["state/address/1/" .. host .. "/error_count"])
end
f.say((f.ask(zedcup.create_handler("address"))))
--- response_body
ssl/ca_cert must name a file
1
false nil
false nil
false nil
address
--- error_log
ssl/ca_cert
--- no_error_log
[alert]



=== TEST 4: ca_cert is a path, and its file's absence blames no host
--- lua
f.say(zedcup.configure_instance("web", { ssl = { ca_cert = "ca.crt" }, pools = {} }))
configure("web", { ca_cert = dir .. "none.crt" }, { 1 })
configure("clock", { ca_cert = ca }, { 1 })
good_probes("clock", 1, 5)
f.say(down("web", 1), f.stored()["state/web/1/1/error_count"])
f.say((f.ask(zedcup.create_handler("web"))))
f.say(zedcup.create_handler("web"):config().ssl.ca_cert == dir .. "none.crt")
--- response_body
nil ssl.ca_cert: expected an absolute path, got "ca.crt"
false nil
address
true
--- error_log eval
qr/web: health checks of its hosts count for nothing: pools\[1\]\.hosts\[1\] at 127\.0\.0\.1:\d+: ca_cert: \S+none\.crt: No such file or directory/
--- no_error_log
[alert]
