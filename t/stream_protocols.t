# The native balancer in stream {} with what nginx speaks to hosts: TLS, UDP; and
# names with several addresses.
BEGIN { $ENV{ZEDCUP_TEST_STREAM} = 1 }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use StreamTest;
use DnsServer;

certificate('web.example');
certificate('other.example');
DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});
worker_connections(512);
master_on();

# TLS hosts that say how the handshake was; b3 has another certificate.
our $tls_hosts = join '', map { my $i = $_;
    my $port = $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1;
    my $name = $i < 3 ? 'web.example' : 'other.example';
    <<"END" } 1 .. 3;
server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate $ENV{TEST_NGINX_CERT_DIR}/$name.crt;
    ssl_certificate_key $ENV{TEST_NGINX_CERT_DIR}/$name.key;
    ssl_protocols \$PROTOCOL;
    access_log off;
    return "b$i \$ssl_session_reused \$ssl_server_name\\n";
}
END

our $udp_hosts = join '', map {
    "server { listen 127.0.0.1:" . ($ENV{TEST_NGINX_BACKEND_PORT} + $_ - 1)
        . " udp; access_log off; return b$_; }\n" } 1 .. 3;

add_block_preprocessor(sub {
    my $block = shift;
    my $stream = $block->stream // '';
    if (my $protocol = $block->protocol) {
        chomp $protocol;
        $stream .= $tls_hosts =~ s/\$PROTOCOL/$protocol/gr;
    }
    $stream .= $udp_hosts if defined $block->udp_hosts;
    $block->set_value('stream', $stream); # StreamTest looks later
});

# "b1=2 b2=1": who answered n datagrams; those to whom nothing came as "none".
sub asked {
    my ($n, $seconds, $port) = @_;
    my %got;
    for (1 .. $n) {
        my ($name) = split ' ', ask_datagram("hello", $seconds, $port);
        $got{$name // 'none'}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

# A host that takes a connection and begins to answer much later.
sub slow_relay {
    my ($port, $to) = @_;
    return spawn_server(sub {
        my $listener = shift;
        $SIG{CHLD} = 'IGNORE';
        while (my $client = $listener->accept) {
            next if fork();
            Time::HiRes::sleep(0.1);
            my $host = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to);
            my $both = IO::Select->new($client, $host);
            while (my @ready = $both->can_read(5)) {
                for my $socket (@ready) {
                    sysread($socket, my $text, 65536) or POSIX::_exit(0);
                    syswrite $socket == $client ? $host : $client, $text;
                }
            }
            POSIX::_exit(0);
        }
    }, '127.0.0.1', $port);
}

sub rotated { return scalar(() = error_log() =~ /is out of this node's rotation after \d+ errors, the last: $_[0]/g) }

run_tests();

__DATA__

=== TEST 1: TLS 1.3: sessions are resumed, one a host, also after changes; http has its own
--- protocol: TLSv1.3
--- stream
upstream db { zedcup web; }
proxy_ssl on;
proxy_ssl_protocols TLSv1.3;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2; proxy_pass db; proxy_ssl_session_reuse off; }
--- http_config
upstream app { zedcup web; }
--- config
location = /app { proxy_pass https://app; proxy_ssl_protocols TLSv1.3; proxy_next_upstream off; }
--- lua
local ok, err = zedcup.configure_instance("web", {
    ssl = ngx.var.arg_sni and { sni_name = ngx.var.arg_sni }, max_errors = 1000,
    pools = { { hosts = f.hosts(2, function() return { weight = ngx.var.arg_weight } end) } } })
ngx.say(ok and "ok" or err)
--- script
configure();
isnt((get('/app'))[0], 200, 'http: a handshake, no good answer') for 1 .. 2;
my @first = ('b1 . =1', 'b2 . =1');
my @again = ('b1 r =3', 'b2 r =3');
is(talks(2), join(' ', @first), 'the first of each host');
is(talks(6), join(' ', @again), 'resumed');
configure('weight=2');
is(talks(6), join(' ', @again), 'resumed after a change');
is(talks(2, $TEST_NGINX_CONSUL_PORT2), join(' ', @first), 'off: never');
configure('sni=x.example');
is(talks(2), join(' ', @first), 'other TLS: not resumed');
is(talks(6), join(' ', @again), 'and resumed from then on');
reload();
is(talks(2), join(' ', @first), 'a new worker begins anew');
is(talks(6), join(' ', @again), 'and resumes');
--- no_error_log
[alert]



=== TEST 2: TLS 1.2: the same
--- protocol: TLSv1.2
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; proxy_ssl on; }
--- lua
f.configure("web", f.hosts(2))
ngx.say("ok")
--- script
configure();
is(talks(2), 'b1 . =1 b2 . =1', 'the first of each host');
is(talks(6), 'b1 r =3 b2 r =3', 'resumed');



=== TEST 3: TLS: the name to expect and to send; a host that has another goes on, and counts
--- protocol: TLSv1.2
--- stream
upstream db { zedcup web; }
proxy_ssl on;
proxy_ssl_server_name on;
proxy_ssl_verify on;
proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/web.example.crt;
proxy_ssl_session_reuse off;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2; proxy_pass db; proxy_ssl_name web.example; }
--- lua
local ok, err = zedcup.configure_instance("web", { ssl = { sni_name = ngx.var.arg_sni },
    pools = { { hosts = f.hosts(3), max_errors = 2 } } })
ngx.say(ok and "ok" or err)
--- script
configure('sni=web.example');
is(talks(9), 'b1 . web.example=5 b2 . web.example=4', 'the two that are who they say');
wait_for('the other is out', 2, sub { rotated('connect failed') == 1 });
is(talks(4), 'b1 . web.example=2 b2 . web.example=2', 'and stays out');
like(error_log(), qr/upstream SSL certificate verify error/, 'for its certificate');
configure('sni=elsewhere.example');
is(talks(1), 'closed=1', 'nobody has that name');
--- no_error_log
[alert]



=== TEST 4: TLS: a host that does not speak it, and one that says nothing
--- protocol: TLSv1.2
--- stream
upstream db { zedcup web; }
proxy_connect_timeout 200ms;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; proxy_ssl on; proxy_ssl_session_reuse off; }
--- lua
local list = f.hosts(1)
list[2] = { name = "plain", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 }
list[3] = { name = "mute", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
f.configure("web", list, { max_errors = 2 })
ngx.say("ok")
--- script
talker('plain', '127.0.0.1', $TEST_NGINX_BACKEND_PORT4);
spawn_server(sub { my $l = shift; my @all; push @all, $l->accept while 1 }, '127.0.0.1', $TEST_NGINX_CLOSED_PORT);
configure();
is(talks(6), 'b1 . =6', 'no session fails');
wait_for('both are out', 2, sub { rotated('connect failed') == 2 });
is(talks(4), 'b1 . =4', 'nor later');
--- no_error_log
[alert]



=== TEST 5: ewma goes by the time until a session is connected, TLS included
--- protocol: TLSv1.2
--- stream
upstream db { zedcup web method=ewma; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; proxy_ssl on; proxy_ssl_session_reuse off; }
--- lua
f.configure("web", { f.hosts(1)[1], { name = "slow", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 } })
ngx.say("ok")
--- script
slow_relay($TEST_NGINX_BACKEND_PORT4, $TEST_NGINX_BACKEND_PORT2);
configure();
my ($slow) = (talks(30) =~ /b2 . =(\d+)/, 0);
cmp_ok($slow, '<=', 6, "the slow one gets few ($slow of 30)");



=== TEST 6: UDP: datagrams by weight
--- udp_hosts
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT udp; proxy_pass db; proxy_responses 1; }
--- lua
f.configure("web", f.hosts(3, function(i) return { weight = i == 3 and 2 or 1 } end), { name = "main" })
ngx.say("ok")
--- script
configure();
is(asked(12), 'b1=3 b2=3 b3=6', 'by weight');
wait_for('logged', 5, sub { (way_log())[11] });
like((way_log())[0], qr/^web main b\d \[127\.0\.0\.1:\d+\] 200$/, 'variables');



=== TEST 7: UDP: a refused host counts, and goes
--- udp_hosts
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT udp; proxy_pass db; proxy_responses 1; proxy_timeout 1s; }
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, h[2] }, { max_errors = 2 })
ngx.say("ok")
--- script
configure();
is(asked(6, 0.2), 'b1=2 b2=2 none=2', 'its datagrams are lost');
wait_for('it is out', 2, sub { rotated('no answer') == 1 });
is(asked(6), 'b1=3 b2=3', 'no more');
--- no_error_log
[alert]



=== TEST 8: UDP: silence counts where answers are expected
--- udp_hosts
--- stream
upstream db { zedcup web; }
proxy_timeout 150ms;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT udp; proxy_pass db; proxy_responses 1; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2 udp; proxy_pass db; }
--- lua
f.configure("web", { f.hosts(1)[1], { name = "mute", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 } }, { max_errors = 2 })
ngx.say("ok")
--- script
spawn_datagrams('mute', $TEST_NGINX_BACKEND_PORT4, -1);
configure();
is(asked(8, 0.1, $TEST_NGINX_CONSUL_PORT2), 'b1=4 none=4', 'nothing was said of answers');
wait_for('they are over', 5, sub { way_log() == 8 });
is(rotated('no answer'), 0, 'none is blamed');
is(asked(4, 0.5), 'b1=2 none=2', 'one answer was');
wait_for('it is out', 2, sub { rotated('no answer') == 1 });
is(asked(4), 'b1=4', 'no more');
--- no_error_log
[alert]



=== TEST 9: UDP: ewma goes by the time until the first answer
--- udp_hosts
--- stream
upstream db { zedcup web method=ewma; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT udp; proxy_pass db; proxy_responses 1; }
--- lua
f.configure("web", { f.hosts(1)[1], { name = "slow", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 } })
ngx.say("ok")
--- script
spawn_datagrams('slow', $TEST_NGINX_BACKEND_PORT4, 0.1);
configure();
my ($slow) = (asked(30) =~ /slow=(\d+)/, 0);
cmp_ok($slow, '<=', 6, "the slow one gets few ($slow of 30)");



=== TEST 10: names by the resolver of http {}; another address of a name before its host has failed
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
--- http_config
resolver 127.0.0.1:$TEST_NGINX_EXTRA_PORT ipv6=off;
--- lua
f.configure("web", { { name = "n", host = "many.test", port = $TEST_NGINX_BACKEND_PORT } }, { max_errors = 1 })
ngx.say("ok")
--- script
open my $out, '>', $ENV{TEST_NGINX_DNS_FILE} or die $!;
print $out "many.test 60 127.0.0.1\nmany.test 60 127.0.0.2\nmany.test 60 127.0.0.3\n";
close $out;
talker('one', '127.0.0.1', $TEST_NGINX_BACKEND_PORT);
talker('three', '127.0.0.3', $TEST_NGINX_BACKEND_PORT);
configure();
wait_for('known', 5, sub { talk() =~ /one|three/ });
like(talks(8), qr/^one=\d three=\d$/, 'the two that are there');
like(error_log(), qr/connect\(\) failed.*127\.0\.0\.2/, 'the third was tried');
is(rotated('connect failed'), 0, 'the host has not failed');
stop_talkers('one', 'three');
is(talk(), 'closed', 'all are gone');
wait_for('it has now', 2, sub { rotated('connect failed') == 1 });
--- no_error_log
[alert]



=== TEST 11: proxy_next_upstream_tries counts each address of a name, which is left alone then
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; proxy_next_upstream_tries 1; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2; proxy_pass db; proxy_next_upstream_tries 5; }
--- http_config
resolver 127.0.0.1:$TEST_NGINX_EXTRA_PORT ipv6=off;
--- lua
f.configure("web", { { name = "n", host = ngx.var.arg_name, port = $TEST_NGINX_BACKEND_PORT } }, { max_errors = 1 })
ngx.say("ok")
--- script
open my $out, '>', $ENV{TEST_NGINX_DNS_FILE} or die $!;
print $out map { "$_.test 60 127.0.0.1\n$_.test 60 127.0.0.2\n" } qw(two deux);
close $out;
talker('one', '127.0.0.1', $TEST_NGINX_BACKEND_PORT);
for (['two', $TEST_NGINX_STREAM_PORT, 1], ['deux', $TEST_NGINX_CONSUL_PORT2, 0]) {
    my ($name, $port, $lost) = @$_;
    configure("name=$name.test");
    wait_for("$name: known", 5, sub { open my $in, '<', "$ENV{TEST_NGINX_DNS_FILE}.asked"; grep { /$name/ } <$in> });
    my %got;
    my $met = sub { scalar(() = error_log() =~ /connect\(\) failed/g) };
    my $before = $met->();
    wait_for("$name: the dead address was met", 5, sub {
        my $unknown = () = error_log() =~ /no live upstreams/g;
        my $who = talk($port);
        $got{$who}++ if $unknown == (() = error_log() =~ /no live upstreams/g); # by its name
        return $met->() > $before;
    });
    is($got{closed} // 0, $lost, "$name: sessions lost by it");
    is(talks(4, $port), 'one=4', "$name: none later");
}
is(rotated('connect failed'), 0, 'the host has not failed');
--- no_error_log
[alert]
