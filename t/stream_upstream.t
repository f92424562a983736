# The native balancer in stream {}: sessions that nginx proxies to the hosts of an
# instance. TLS, UDP and what a configuration may not say are in files of their own.
BEGIN { $ENV{ZEDCUP_TEST_STREAM} = 1 }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use StreamTest;

worker_connections(512);
master_on();

# A port that takes a connection and no more: the next is neither accepted nor
# refused.
sub full_port {
    my $port = shift;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port,
        Listen => 1, ReuseAddr => 1) or die "cannot listen: $!";
    my @waiting = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port,
                                              Timeout => 0.2) } 1 .. 3;
    return [$listener, @waiting];
}

sub connects_failed { return scalar(() = error_log() =~ /connect\(\) failed/g) }

# Lines of ended sessions, once there are as many, sorted.
sub ways {
    my $n = shift;
    my @lines;
    for (1 .. 250) {
        last if (@lines = way_log()) >= $n;
        Time::HiRes::sleep(0.02);
    }
    return join "\n", sort @lines;
}

run_tests();

__DATA__

=== TEST 1: sessions by weight; the variables
--- lua
f.configure("web", f.hosts(3, function(i) return { weight = i == 3 and ngx.var.arg_w or 1 } end), { name = "main" })
ngx.say("ok")
--- script
spawn_talkers(3);
configure('w=1');
is(talks(9), 'b1=3 b2=3 b3=3', 'equal');
configure('w=4');
is(talks(12), 'b1=2 b2=2 b3=8', 'by weight');
my %seen = map { $_ => 1 } split /\n/, ways(21);
my $port = $TEST_NGINX_BACKEND_PORT;
is_deeply([sort keys %seen], [map { "web main b$_ [127.0.0.1:" . ($port + $_ - 1) . '] 200' } 1 .. 3], 'variables');



=== TEST 2: a refused host goes on to the next, counts, and goes; $upstream_addr has all that were tried
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, h[2] },
            { max_errors = 2 })
ngx.say("ok")
--- init_worker
require("zedcup").bind("host_down", function(instance, data)
    ngx.log(ngx.WARN, "down: ", instance, " ", data.host.name, " ", data.err or "")
end)
--- script
spawn_talkers(2);
configure();
is(talks(12), 'b1=6 b2=6', 'no session fails');
wait_for('an event', 5, sub { error_log() =~ /down: web dead connect failed/ });
my $before = connects_failed();
is($before, 2, 'max_errors attempts');
is(talks(12), 'b1=6 b2=6', 'nor later');
is(connects_failed(), $before, 'it is not tried any more');
like(ways(24), qr/^web \S* b2 \[127\.0\.0\.1:$TEST_NGINX_CLOSED_PORT, 127\.0\.0\.1:$TEST_NGINX_BACKEND_PORT2\] 200$/m, 'both in the log');
--- no_error_log
[alert]



=== TEST 3: pools in order; the next only when the one before has no usable host
--- lua
local h = f.hosts(3)
local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
local one = ({ up = { h[1], h[2] }, dead = { dead }, none = {}, down = { h[1], h[2] } })[ngx.var.arg_first]
local ok, err = zedcup.configure_instance("web", { pools = {
    { up = ngx.var.arg_first ~= "down", hosts = one, max_errors = 100 }, { hosts = { h[3] } } } })
ngx.say(ok and "ok" or err)
--- script
spawn_talkers(3);
for (['up', 'b1=3 b2=3'], ['dead', 'b3=6'], ['none', 'b3=6'], ['down', 'b3=6'], ['up', 'b1=3 b2=3']) {
    configure("first=$_->[0]");
    is(talks(6), $_->[1], $_->[0]);
}
--- no_error_log
[alert]



=== TEST 4: an unknown instance and an empty one: the session is closed, the log says why
--- lua
ngx.say(zedcup.configure_instance("web", { pools = { { hosts = {} } } }) and "ok")
--- script
wait_for('unknown', 5, sub {
    is(talk(), 'closed', 'closed');
    return error_log() =~ /zedcup: instance "web": there is no such instance/;
});
like((way_log())[0], qr/^- - - \[db\] 502$/, 'logged as nginx does');
configure();
is(talks(2), 'closed=2', 'empty');
like(error_log(), qr/no live upstreams/, 'as nginx says it');
is((way_log())[-1], 'web - - [db] 502', 'logged');
--- no_error_log
[alert]



=== TEST 5: a host that does not accept: the time-out goes on to the next, counts, and is limited
--- stream
upstream db { zedcup web; }
proxy_connect_timeout 150ms;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2; proxy_pass db; proxy_next_upstream_tries 1; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT3; proxy_pass db; proxy_next_upstream off; }
server { listen 127.0.0.1:$TEST_NGINX_CLOSED_PORT; proxy_pass db; proxy_next_upstream_timeout 50ms; }
--- lua
local full = { name = "full", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }
f.configure("web", { full, f.hosts(1)[1] }, { max_errors = tonumber(ngx.var.arg_max) })
ngx.say("ok")
--- script
spawn_talkers(1);
my $full = full_port($TEST_NGINX_EXTRA_PORT);
configure('max=100');
for (['tries', $TEST_NGINX_CONSUL_PORT2], ['off', $TEST_NGINX_CONSUL_PORT3], ['timeout', $TEST_NGINX_CLOSED_PORT]) {
    is(talks(2, $_->[1]), 'b1=1 closed=1', "next_upstream: $_->[0]");
}
is(talks(2), 'b1=2', 'goes on');
configure('max=3');
is(talks(8), 'b1=8', 'goes on');
wait_for('out of rotation', 2, sub { error_log() =~ /is out of this node's rotation after \d+ errors, the last: connect failed/ });
my $before = () = error_log() =~ /upstream timed out/g;
is(talks(4), 'b1=4', 'nor later');
is(scalar(() = error_log() =~ /upstream timed out/g), $before, 'it is not waited for any more');
--- no_error_log
[alert]



=== TEST 6: least_conn: sessions count until they end
--- stream
upstream db { zedcup web method=least_conn; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
--- lua
f.configure("web", f.hosts(2))
ngx.say("ok")
--- script
spawn_talkers(2);
configure();
my %held;
for (1 .. 8) {
    my $socket = hold();
    push @{ $held{said($socket)} }, $socket;
}
is(scalar @{ $held{$_} // [] }, 4, "four with $_") for qw(b1 b2);
close $_ for splice @{ $held{b1} };
ways(4);
my @fresh = map { hold() } 1 .. 4;
is(join(' ', map { said($_) } @fresh), 'b1 b1 b1 b1', 'the next ones go to who has none');
syswrite $held{b2}[0], "still here\n";
is(said($held{b2}[0]), 'still here', 'the others go on');



=== TEST 7: max_conns: sessions under way count, also those of http
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
--- http_config
upstream app { zedcup web; }
--- config
location /app { proxy_pass http://app; proxy_http_version 1.1; }
--- lua
f.configure("web", f.hosts(1), { max_conns = 2 })
ngx.say("ok")
--- script
spawn_talkers(1);
configure();
my @held = map { hold() } 1 .. 2;
is(join(' ', map { said($_) } @held), 'b1 b1', 'two');
is(talks(2), 'closed=2', 'no more');
is((get('/app'))[0], 502, 'nor by http');
close $held[0];
wait_for('its place is free', 5, sub { talk() eq 'b1' });
syswrite $held[1], "here\n";
is(said($held[1]), 'here', 'the other goes on');
--- no_error_log
[alert]



=== TEST 8: hash by the client's address, by a key; ends with a pool's own method
--- stream
upstream db { zedcup web method=hash; }
upstream by_key { zedcup web method=hash key=fixed-$server_port; }
upstream turns { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT2; proxy_pass by_key; }
server { listen 127.0.0.1:$TEST_NGINX_CONSUL_PORT3; proxy_pass turns; }
--- lua
f.configure("web", f.hosts(3))
ngx.say("ok")
--- script
spawn_talkers(3);
configure();
my %seen;
for my $client (1 .. 20) {
    my $who = talks(3, $TEST_NGINX_STREAM_PORT, "127.0.0.$client");
    like($who, qr/^b\d=3$/, "client $client stays");
    $seen{$who} = 1;
}
is(scalar keys %seen, 3, 'all hosts have clients');
my %by_key = map { talk($TEST_NGINX_CONSUL_PORT2, "127.0.0.$_") => 1 } 1 .. 10;
is(scalar keys %by_key, 1, 'one key, one host');
is(talks(6, $TEST_NGINX_CONSUL_PORT3), 'b1=2 b2=2 b3=2', 'another upstream takes turns');



=== TEST 9: unix sockets, IPv6, names of /etc/hosts; the upstream chosen by a variable
--- stream
upstream db { zedcup web; }
map $server_port $chosen { default db; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass $chosen; }
--- lua
f.configure("web", { { name = "n", host = "localhost", port = $TEST_NGINX_BACKEND_PORT },
    { name = "u", host = "unix:$TEST_NGINX_SOCKET_DIR/talk.sock" },
    { name = "6", host = "::1", port = $TEST_NGINX_BACKEND_PORT } }, { max_errors = 100 })
ngx.say("ok")
--- script
spawn_talkers(1);
talker('unix', 'unix:$TEST_NGINX_SOCKET_DIR/talk.sock');
talker('six', '::1', $TEST_NGINX_BACKEND_PORT);
configure();
is(talks(6), 'b1=2 six=2 unix=2', 'all three');
like(ways(6), qr{^web \S+ u \[unix:$TEST_NGINX_SOCKET_DIR/talk\.sock\] 200$}m, 'logged by its path');
like(ways(6), qr{^web \S+ 6 \[\[::1\]:$TEST_NGINX_BACKEND_PORT\] 200$}m, 'and by its address');
--- no_error_log
[alert]



=== TEST 10: through reloads and changes sessions go on, and new ones follow
--- lua
f.configure("web", f.hosts(tonumber(ngx.var.arg_n) or 3))
ngx.say("ok")
--- script
spawn_talkers(3);
configure('n=3');
my $held = hold();
my $its = said($held);
for my $round (1 .. 3) {
    kill HUP => master_pid();
    wait_for('reloaded', 10, sub { $round == (() = error_log() =~ /gracefully shutting down/g) });
    wait_for("round $round: new sessions", 5, sub { talk() =~ /^b\d$/ });
    configure("n=$round");
    is(talks($round * 2), join(' ', map { "b$_=2" } 1 .. $round), 'they follow');
    syswrite $held, "round $round\n";
    is(said($held), "round $round", 'the old one goes on');
}
wait_for('in its old worker, the others end', 10, sub { worker_pids() == 2 });
syswrite $held, "still\n";
is(said($held), 'still', 'and it goes on');
close $held;
wait_for('which then ends', 5, sub { worker_pids() == 1 });
--- no_error_log
[alert]



=== TEST 11: stream {} behind http {}: the same
--- stream_after
--- lua
f.configure("web", f.hosts(2))
ngx.say("ok")
--- script
spawn_talkers(2);
configure();
is(talks(4), 'b1=2 b2=2', 'both');
ways(4);
reload();
is(talks(4), 'b1=2 b2=2', 'after a reload');



=== TEST 12: the PROXY protocol goes to the host
--- stream
upstream db { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; proxy_protocol on; }
server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT proxy_protocol; return "for $proxy_protocol_addr\n"; }
--- lua
f.configure("web", f.hosts(1))
ngx.say("ok")
--- script
configure();
is(talk($TEST_NGINX_STREAM_PORT, '127.0.0.9'), 'for 127.0.0.9', 'the client is known');



=== TEST 13: a host that hangs up at once was reached: it is not blamed
--- lua
f.configure("web", f.hosts(2), { max_errors = 1 })
ngx.say("ok")
--- script
talker('b1', '127.0.0.1', $TEST_NGINX_BACKEND_PORT);
spawn_server(sub { my $listener = shift; close $_ while $_ = $listener->accept },
             '127.0.0.1', $TEST_NGINX_BACKEND_PORT2);
configure();
is(talks(6), 'b1=3 closed=3', 'both are asked');
--- no_error_log
rotation



=== TEST 14: a session whose client leaves while it is being connected counts against nobody
--- stream
upstream db { zedcup web method=least_conn; }
proxy_connect_timeout 150ms;
server { listen 127.0.0.1:$TEST_NGINX_STREAM_PORT; proxy_pass db; }
--- lua
local full = { name = "full", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }
f.configure("web", { full, f.hosts(1)[1] }, { max_errors = 1000, max_conns = 1 })
ngx.say("ok")
--- script
spawn_talkers(1);
my $full = full_port($TEST_NGINX_EXTRA_PORT);
configure();
for (1 .. 6) { close hold() }
is(scalar(split /\n/, ways(6)), 6, 'all sessions end');
is(talks(4), 'b1=4', 'and hold no place');
--- no_error_log
[alert]



=== TEST 15: a host that comes late begins with few sessions, and rises
--- lua
f.configure("web", f.hosts(tonumber(ngx.var.arg_n)), { slow_start = ngx.var.arg_slow })
ngx.say("ok")
--- script
spawn_talkers(2);
configure('n=1&slow=600');
is(talks(4), 'b1=4', 'alone');
configure('n=2&slow=600');
my ($few) = (talks(80) =~ /b2=(\d+)/, 0);
cmp_ok($few, '<', 20, "few ($few of 80)");
configure('n=2&slow=1');
my $share = 0;
wait_for('at last its share', 10, sub { ($share) = talks(40) =~ /b2=(\d+)/; $share && $share == 20 });
