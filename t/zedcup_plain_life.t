# What an nginx without ngx_lua may go through: no store at its start, a zone
# that is too small, one process for everything, another binary.
use lib 't/lib';
use PlainTest;
use ZedcupTest 'no_plan';
use ZedcupStore;

plain_setup();
run_tests();

__DATA__

=== TEST 1: the store is away at the start
--- consul: stopped
--- script
is(conf_test('zedcup_store consul://127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX;'), 'ok', 'nginx -t does not ask it');
is(asked(2), '502=2', 'nothing to serve');
is(asked(2, '/alive'), 'yes=2', 'but nginx serves');
like(error_log(), qr/the store has not been read yet/, 'which is said');
reload();
is(asked(2), '502=2', 'a reload does not help');
consul_start();
put_host(1);
serves('served as soon as it comes', qr/^b1=8$/);
--- error_log
; trying again



=== TEST 2: a zone that is too small: the size needed, last good stays, others follow
--- main
zedcup_zone 64k;
upstream other { zedcup other; }
--- config
location /other { proxy_pass http://other; }
--- script
put_host(1);
put_host(1, undef, 'other');
serves('served', qr/^b1=8$/);
serves('another', qr/^b1=8$/, '/other');
my $name = 'x' x 60000;
consul_put('instances/web/pools/1/note', $name);
my ($size) = wait_for('reported', 5, sub {
    error_log() =~ /\[error\][^\n]*the zone is too small: no \d+ bytes in one piece for instance "web", the last good content stays; set zedcup_zone to (\d+k) or more/ });
put_host(2);
put_host(2, undef, 'other');
serves('others follow', qr/^b1=4 b2=4$/, '/other');
is(asked(8), 'b1=8', 'the last good content stays');
kill KILL => $_ for worker_pids();
serves('also with new workers', qr/^b1=8$/);
error_log() =~ /set zedcup_zone to (\d+k)/;
my $advice = $1;
edit_conf(sub { s/zedcup_zone 64k/zedcup_zone $advice/ });
reload();
serves('enough as advised', qr/^b1=4 b2=4$/);
--- no_error_log
[emerg]



=== TEST 3: one process for everything (nginx cannot reload in this mode)
--- script
put_host(1);
my $pid = spawn_nginx('single', 'load_module $ENV{ZEDCUP_MODULE};' =~ s/\$ENV\{(\w+)\}/$ENV{$1}/r, <<"END");
zedcup_store consul://127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX;
upstream app { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { proxy_pass http://app; } }
END
my $got = sub { my (undef, $body) = nginx_at($TEST_NGINX_EXTRA_PORT, '/'); return $body };
wait_for('serves', 5, sub { $got->() eq 'b1' });
put_host(2);
wait_for('follows', 5, sub { $got->() eq 'b2' });
is(end_nginx($pid), 0, 'it ends well');
unlike(log_of('single'), qr/\[(?:alert|emerg|crit)\]/, 'and quietly');



=== TEST 4: another binary takes over
--- main_config
env LD_PRELOAD; env ASAN_OPTIONS;
--- script
put_host(1);
serves('the first serves', qr/^b1=8$/);
my ($old, @old) = (master_pid(), worker_pids());
kill USR2 => $old;
my $new = wait_for('a new master', 10, sub { my $pid = master_pid(); $pid && $pid ne $old && $pid });
wait_for('its workers', 10, sub { my @now = worker_pids(); return @now == 2 });
my @new = worker_pids();
kill QUIT => $old;
wait_for('the old ones leave', 10, sub { !grep { kill 0 => $_ } $old, @old });
is("@{[worker_pids()]}", "@new", 'the new ones stay');
serves('and serve', qr/^b1=8$/);
put_host(2);
serves('and follow', qr/^b1=4 b2=4$/);



=== TEST 5: a start: the first request waits for the content, unless the store is away
--- script
put_host(1);
my $start = sub {
    my ($store, $path) = @_;
    my $pid = spawn_nginx('first', "load_module $ENV{ZEDCUP_MODULE};", <<"END");
zedcup_store $store;
upstream app { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { proxy_pass http://app; } location /alive { return 200 yes; } }
END
    my $answer = join ' ', nginx_at($TEST_NGINX_EXTRA_PORT, $path // '/');
    is(end_nginx($pid), 0, 'it ends well');
    return $answer =~ s/<.*//sr;
};
my $consul = "consul://127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX";
is($start->($consul), '200 b1', "start $_") for 1 .. 10;
is($start->("consul://127.0.0.1:$TEST_NGINX_CLOSED_PORT,127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX"), '200 b1',
    'of two servers the first is dead');
serves('with two workers', qr/^b1=8$/);
for (1 .. 5) {
    restart();
    is(asked(8), 'b1=8', "restart $_");
}
# accepts, and says nothing
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
my $port = $silent->sockport;
is($start->("consul://127.0.0.1:$port/$TEST_NGINX_PREFIX", '/alive'), '200 yes', 'a silent store does not keep nginx from serving');
is($start->("consul://127.0.0.1:$port/$TEST_NGINX_PREFIX"), '502 ', 'and no request waits for it');
like(log_of('first'), qr/the store has not been read yet/, 'which is said');
