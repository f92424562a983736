# The native balancer and host names where nginx has a say: its limits of tries,
# and TLS over connections that it keeps.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use ZedcupFaces 'native';
use DnsServer;

worker_connections(256);
master_on();
certificate('web.test');
DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});
names_of_hosts();

# "BODY or status, …" of n requests
sub answers {
    my ($n, $path) = @_;
    return join ', ', map { my ($status, $body) = get($path); $status == 200 ? $body : $status } 1 .. $n;
}

run_tests();

__DATA__

=== TEST 1: tries that nginx limits are connections; a host without a live address is blamed all the same
--- native
proxy_next_upstream_tries 1;
--- lua
dns.set("dead.test 60 127.0.0.7", "dead.test 60 127.0.0.8", "dead.test 60 127.0.0.9")
f.configure("web", { { name = "a", host = "dead.test", port = port } }, { max_errors = 2 })
f.wait(5, function() return select(3, via.ask("/via/")) == 1 end) -- the name is known: the first address
for _ = 1, 4 do f.say(via.ask("/via/")) end
--- response_body
failed 502 1
failed 502 1
failed 502 1
failed 502 0
--- error_log
is out of this node's rotation after 2 errors



=== TEST 2: a limit of tries above the number of hosts: all addresses of one, and then the next
--- native
proxy_next_upstream_tries 5;
--- lua
dns.set("dead.test 60 127.0.0.7", "dead.test 60 127.0.0.8", "dead.test 60 127.0.0.9")
f.configure("web", { { name = "a", host = "dead.test", port = port, weight = 1 },
                     { name = "b", host = "127.0.0.1", port = port, weight = 1 } }, { max_errors = 9 })
f.wait(5, function() return select(3, via.ask("/via/")) == 4 end) -- the name is known: three and one
local most, bad = 0, 0
for _ = 1, 4 do
    local body, _, tries = via.ask("/via/")
    bad = bad + (body == "127.0.0.1" and 0 or 1)
    most = math.max(most, tries)
end
f.say(bad, most <= 4)
--- response_body
0 true



=== TEST 3: where nginx does not go on, a dead address is passed over by the next request
--- lua
dns.set("half.test 60 127.0.0.1", "half.test 60 127.0.0.9")
f.configure("web", { { name = "a", host = "half.test", port = port } }, { max_errors = 1 })
f.wait(5, function() return via.ask("/only/") == "127.0.0.1" end)
via.ask("/only/")
f.say((via.tally(6, "/only/")))
--- response_body
127.0.0.1=6



=== TEST 4: TLS: a kept connection serves no other name than that of its certificate
--- http_config
upstream tls { zedcup web; keepalive 8; }
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 ssl;
    listen [::1]:$TEST_NGINX_BACKEND_PORT2 ssl;
    listen unix:$TEST_NGINX_SOCKET_DIR/tls.sock ssl;
    ssl_certificate $TEST_NGINX_CERT_DIR/web.test.crt;
    ssl_certificate_key $TEST_NGINX_CERT_DIR/web.test.key;
    location / { return 200 "$ssl_server_name $connection_requests"; }
}
--- config
location = /tls {
    proxy_pass https://tls/;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_ssl_verify on;
    proxy_ssl_server_name on;
    proxy_ssl_session_reuse off;
    proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/web.test.crt;
}
--- lua
dns.set("web.test 60 127.0.0.1", "other.test 60 127.0.0.1")
local host = ngx.var.arg_host:gsub("UNIX", "unix:$TEST_NGINX_SOCKET_DIR/tls.sock")
assert(zedcup.configure_instance("web", { ssl = ngx.var.arg_sni and { sni_name = ngx.var.arg_sni },
    pools = { { max_errors = 1000, hosts = { { host = host, port = $TEST_NGINX_BACKEND_PORT2 } } } } }))
f.say("ok")
--- script
is(body_of('/t?host=web.test'), 'ok', 'a name');
wait_for('it is known', 5, sub { answers(1, '/tls') =~ /^web\.test \d/ });
like(answers(2, '/tls'), qr/^web\.test (\d+), web\.test (?!1\b)\d+$/, 'kept');
is(body_of('/t?host=other.test'), 'ok', 'another at the same address');
is(answers(3, '/tls'), '502, 502, 502', 'is not that one');
like(error_log(), qr/upstream SSL certificate does not match "other\.test"/, 'nginx says so');
is(body_of('/t?host=web.test'), 'ok', 'back');
wait_for('it is known', 5, sub { answers(1, '/tls') =~ /^web\.test [2-9]/ });
for my $host ('127.0.0.1', '::1', 'UNIX') {
    is(body_of("/t?host=$host&sni=web.test"), 'ok', "$host: by the instance's name");
    like(answers(2, '/tls'), qr/^web\.test \d+, web\.test (?!1\b)\d+$/, 'kept');
    is(body_of("/t?host=$host&sni=wrong.test"), 'ok', 'another');
    is(answers(2, '/tls'), '502, 502', 'is not that one');
}
