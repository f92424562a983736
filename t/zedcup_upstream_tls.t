# The native balancer under nginx's other ways to a host: TLS with sessions,
# gRPC, websockets; and answers that count against a host.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

certificate('web.example');
certificate('other.example');
worker_connections(512);
master_on();

# Two backends that say how the handshake was; b3 has another certificate.
our $servers = join '', map { my $i = $_;
    my $port = $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1;
    my $name = $i < 3 ? 'web.example' : 'other.example';
    <<"END" } 1 .. 3;
server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate $ENV{TEST_NGINX_CERT_DIR}/$name.crt;
    ssl_certificate_key $ENV{TEST_NGINX_CERT_DIR}/$name.key;
    ssl_protocols \$PROTOCOL;
    location / {
        return 200 "b$i \$ssl_protocol reused=\$ssl_session_reused \$ssl_server_name \$connection_requests";
    }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    my $own = $block->http_config // '';
    $own = "upstream app { zedcup web; }\n$own" if $own !~ /upstream app/;
    if (my $protocol = $block->protocol) {
        chomp $protocol;
        $own .= $servers =~ s/\$PROTOCOL/$protocol/gr;
    }
    $block->set_value('http_config', $own);
});

# Answers to n requests, tallied: "A=2, B=1".
sub answers {
    my ($n, $path) = @_;
    my %got;
    for (1 .. $n) {
        my ($status, $body) = get($path);
        ++$got{$status == 200 ? $body : $status};
    }
    return join ', ', map { "$_=$got{$_}" } sort keys %got;
}

# A socket of one's own to nginx, with that said.
sub said_to_nginx {
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', Timeout => 5,
                                       PeerPort => $ENV{TEST_NGINX_SERVER_PORT}) or die $!;
    syswrite $socket, shift;
    return $socket;
}

# What comes until it matches, or until nothing comes any more.
sub read_until {
    my ($socket, $pattern) = @_;
    my $text = '';
    local $SIG{ALRM} = sub { die "nothing more after \"$text\"\n" };
    alarm 5;
    eval { 1 while $text !~ $pattern && sysread($socket, $text, 4096, length $text) };
    alarm 0;
    return $text;
}

run_tests();

__DATA__

=== TEST 1: TLS 1.3: sessions are resumed, one a host, also after changes of content
--- protocol: TLSv1.3
--- config
proxy_ssl_protocols TLSv1.3;
location = /set { content_by_lua_block {
    local f = require("zedcup_fixture")
    local ok, err = require("zedcup").configure_instance("web", {
        ssl = ngx.var.arg_sni and { sni_name = ngx.var.arg_sni },
        pools = { { hosts = f.hosts(2, function() return { weight = ngx.var.arg_weight } end) } } })
    ngx.print(ok and "ok" or err) } }
# from nginx 1.29.7 on connections are kept otherwise
proxy_set_header Connection close;
location = /on { proxy_pass https://app/; proxy_ssl_session_reuse on; }
location = /off { proxy_pass https://app/; proxy_ssl_session_reuse off; }
--- script
is(body_of('/set'), 'ok', 'configured');
my @first = ('b1 TLSv1.3 reused=.  1=1', 'b2 TLSv1.3 reused=.  1=1');
my @again = ('b1 TLSv1.3 reused=r  1=3', 'b2 TLSv1.3 reused=r  1=3');
is(answers(2, '/on'), join(', ', @first), 'the first of each host');
is(answers(6, '/on'), join(', ', @again), 'resumed');
is(body_of('/set?weight=2'), 'ok', 'changed');
is(answers(6, '/on'), join(', ', @again), 'resumed after a change');
is(answers(2, '/off'), join(', ', @first), 'off: never');
is(body_of('/set?sni=x.example'), 'ok', 'other TLS');
is(answers(2, '/on'), join(', ', @first), 'other TLS: not resumed');
is(answers(6, '/on'), join(', ', @again), 'and resumed from then on');
reload();
is(answers(2, '/on'), join(', ', @first), 'a new worker begins anew');
is(answers(6, '/on'), join(', ', @again), 'and resumes');



=== TEST 2: TLS 1.2: the same; kept connections
--- protocol: TLSv1.2
--- http_config
upstream app { zedcup web; }
upstream kept { zedcup web; keepalive 8; }
--- config
proxy_http_version 1.1;
location = /app { proxy_pass https://app/; proxy_set_header Connection close; }
location = /kept { proxy_pass https://kept/; proxy_set_header Connection ""; }
--- lua
f.configure("web", f.hosts(2))
f.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
is(answers(2, '/app'), 'b1 TLSv1.2 reused=.  1=1, b2 TLSv1.2 reused=.  1=1', 'the first of each host');
is(answers(4, '/app'), 'b1 TLSv1.2 reused=r  1=2, b2 TLSv1.2 reused=r  1=2', 'resumed');
is(answers(2, '/kept'), 'b1 TLSv1.2 reused=r  1=1, b2 TLSv1.2 reused=r  1=1', 'of the host, whatever the upstream');
is(answers(2, '/kept'), 'b1 TLSv1.2 reused=r  2=1, b2 TLSv1.2 reused=r  2=1', 'kept');



=== TEST 3: a certificate that is not as expected: the next host, and it counts
--- protocol: TLSv1.2 TLSv1.3
--- config
location = /app {
    proxy_pass https://app/;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/web.example.crt;
    proxy_ssl_server_name on;
}
--- lua
assert(zedcup.configure_instance("web", { ssl = { sni_name = "web.example" },
    pools = { { hosts = f.hosts(3), max_errors = 2 } } }))
f.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
my $got = answers(12, '/app');
like($got, qr/^b1 TLSv1\.[23] reused=. web\.example 1=/, 'a name is sent');
unlike($got, qr/b3|50\d/, 'only those that can be verified serve');
like(error_log(), qr/upstream SSL certificate verify error/, 'nginx says why');
like(error_log(), qr/host 3 of pool 1 .* is out of this node's rotation after 2 errors/, 'zedcup takes it out');
my $before = () = error_log() =~ /certificate verify error/g;
unlike(answers(8, '/app'), qr/b3|50\d/, 'the others serve');
my $after = () = error_log() =~ /certificate verify error/g;
is($after, $before, 'it is not tried any more');
--- no_error_log
[alert]



=== TEST 4: gRPC: bodies, trailers, a dead host, kept connections
--- http_config
upstream app { zedcup web; keepalive 8; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT http2; location / { grpc_pass grpc://app; } }
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT http2;
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 http2;
    add_trailer grpc-status 0;
    location / { content_by_lua_block {
        ngx.req.read_body()
        ngx.header["Content-Type"] = "application/grpc"
        ngx.print(ngx.var.server_protocol, " ", ngx.var.server_port, " ", ngx.var.connection_requests > "1" and "kept" or "new",
            " ", #(ngx.req.get_body_data() or "")) } }
}
--- lua
f.configure("web", { { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT },
    { host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT }, { host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT2 } },
    { max_errors = 2 })
f.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
my $call = sub {
    open my $curl, '-|', 'curl', '-s', '-i', '-m', '5', '--http2-prior-knowledge', '-H', 'Content-Type: application/grpc',
        '-H', 'TE: trailers', '--data-binary', 'x' x shift, "http://127.0.0.1:$TEST_NGINX_EXTRA_PORT/a.B/C" or die $!;
    local $/;
    return scalar <$curl>;
};
my %served;
for my $i (1 .. 8) {
    my $got = $call->($i * 1000);
    like($got, qr/^HTTP\/2 200.*application\/grpc.*\r\n\r\nHTTP\/2\.0 \d+ (?:new|kept) ${\ ($i * 1000)}grpc-status: 0\r\n/s, "call $i");
    ++$served{"$1 $2"} if $got =~ /HTTP\/2\.0 (\d+) (new|kept)/;
}
is_deeply(\%served, { "$TEST_NGINX_BACKEND_PORT new" => 1, "$TEST_NGINX_BACKEND_PORT kept" => 3,
    "$TEST_NGINX_BACKEND_PORT2 new" => 1, "$TEST_NGINX_BACKEND_PORT2 kept" => 3 }, 'both, on one connection each');
like(error_log(), qr/is out of this node's rotation after 2 errors/, 'the dead one is out');
--- no_error_log
[alert]



=== TEST 5: a websocket goes both ways, and holds its host's place until it ends
--- config
location = /chat {
    proxy_pass http://app;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
}
--- lua
f.configure("web", { { name = "ws", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } }, { max_conns = 1 })
f.say("ok")
--- script
my $pid = spawn_server(sub {
    my $listener = shift;
    while (my $client = $listener->accept) {
        next if fork;
        close $listener;
        my ($text, $head) = ('', 0);
        while (sysread $client, $text, 4096, length $text) {
            $head ||= $text =~ s/^.*?\r\n\r\n//s
                && syswrite $client, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello;";
            syswrite $client, uc $text if $head;
            $text = '' if $head;
        }
        POSIX::_exit(0);
    }
});
is(body_of('/t'), 'ok', 'configured');
my $request = "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
my $socket = said_to_nginx($request);
like(read_until($socket, qr/hello;/), qr/^HTTP\/1\.1 101 .*\r\n\r\nhello;\z/s, 'upgraded');
for my $word ('one;', 'two;') {
    syswrite $socket, $word;
    is(read_until($socket, qr/;/), uc $word, "$word comes back");
}
like(read_until(said_to_nginx($request), qr/\r\n\r\n/), qr/^HTTP\/1\.1 502 /, 'its place is taken');
close $socket;
wait_for('its place is free', 5, sub { read_until(said_to_nginx($request), qr/\r\n\r\n/) =~ /^HTTP\/1\.1 101 / });
stop_server($pid);
--- no_error_log
[alert]



=== TEST 6: a host that answers 503 while another answers well is taken out; elsewhere it is not
--- backends: 2
--- http_config
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { return 503 bad; } }
--- config
location = /plain { proxy_pass http://app/; }
location = /next { proxy_pass http://app/; proxy_next_upstream error timeout http_503; }
--- init_worker
require("zedcup").bind("host_down", function(instance, data)
    ngx.log(ngx.WARN, "down: ", instance, " ", data.host.name, " ", data.err or "")
end)
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }, h[2] },
            { max_errors = 3, status_codes = { "503" } })
f.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
is(answers(12, '/plain'), '503=4, b1=4, b2=4', 'passed on where nginx does not go on');
unlike(error_log(), qr/out of this node/, 'which does not count');
is(answers(2, '/next'), 'b1=1, b2=1', 'nobody sees it');
wait_for('an event', 5, sub {
    unlike(answers(6, '/next'), qr/503/, 'nobody sees it');
    return error_log() =~ /down: web bad status code 503/ });
like(error_log(), qr/is out of this node's rotation after 3 errors, the last: status code 503/, 'after max_errors');
is(answers(12, '/plain'), 'b1=6, b2=6', 'out for all');
--- no_error_log
[error]
[alert]



=== TEST 7: a status that is not among status_codes does not count
--- backends: 2
--- http_config
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { return 503 bad; } }
--- config
location = /plain { proxy_pass http://app/; }
location = /next { proxy_pass http://app/; proxy_next_upstream http_503; }
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }, h[2] },
            { max_errors = 1, status_codes = { "500", "51x" } })
f.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
unlike(answers(12, '/next'), qr/503/, 'nobody sees it');
is(answers(12, '/plain'), '503=4, b1=4, b2=4', 'it serves on');
--- no_error_log
[error]
[alert]
