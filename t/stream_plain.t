# Stream upstreams in an nginx that has no ngx_lua: zedcup_store, a real Consul.
BEGIN {
    $ENV{ZEDCUP_TEST_STREAM} = $ENV{ZEDCUP_TEST_PLAIN} = 1;
    $ENV{TEST_NGINX_LOAD_MODULES} = $ENV{ZEDCUP_MODULE};
    $ENV{TEST_NGINX_LOG_LEVEL} = 'notice';
}
use lib 't/lib';
use ZedcupTest 'no_plan';
BEGIN { $ENV{TEST_NGINX_STREAM_PORT} = $ENV{TEST_NGINX_EXTRA_PORT} } # Consul has the others
use ZedcupStore;
use StreamTest;

workers(2);
worker_connections(512);
master_on();
no_root_location();

$ZedcupStore::default_store = 'consul';

our $store = "zedcup_store consul://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/";

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $store . q($TEST_NGINX_PREFIX;)) if !defined $block->http_config;
    $block->set_value('config', 'location / { return 204; }');
    $block->set_value('no_error_log', "[alert]\n") if !defined $block->no_error_log;
});

sub put_host {
    my ($i, $key, $value) = @_;
    my $path = "instances/web/pools/1/hosts/$i";
    return consul_put("$path/$key", $value) if defined $key;
    consul_put("$path/host", '127.0.0.1');
    consul_put("$path/port", $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1);
}

sub serves {
    my ($name, $wanted) = @_;
    return wait_for($name, 8, sub { talks(8) =~ $wanted });
}

run_tests();

__DATA__

=== TEST 1: follows a real Consul, through its death, a reload and killed workers
--- script
spawn_talkers(2);
put_host(1);
serves('one host', qr/^b1=8$/);
put_host(2);
serves('two', qr/^b1=\d b2=\d$/);
put_host(1, 'up', 'false');
serves('one is drained', qr/^b2=8$/);
consul_stop();
is(talks(8), 'b2=8', 'the store is dead, sessions are not');
reload();
is(talks(8), 'b2=8', 'nor by a reload meanwhile');
for my $pid (worker_pids()) {
    kill KILL => $pid;
    wait_for('another worker', 5, sub { my @now = worker_pids(); return @now == 2 && !grep { $_ == $pid } @now });
}
serves('nor by killed workers', qr/^b2=8$/);
consul_start();
put_host(1, 'up', 'true');
serves('follows again', qr/^b1=\d b2=\d$/);
--- no_error_log
[emerg]



=== TEST 2: health checks take a host down and bring it back; stream {} behind http {}
--- stream_after
--- script
consul_put('config/healthcheck_interval', 1);
consul_put('instances/web/pools/1/healthcheck/interval', 1);
consul_put('instances/web/pools/1/healthcheck/type', 'tcp');
consul_put("instances/web/pools/1/$_", 1) for qw(max_errors min_rises);
put_host(2);
wait_for('it is down in the store', 10, sub { (consul_keys()->{'instances/web/pools/1/hosts/2/up'} // '') eq 'false' });
is(talk(), 'closed', 'nobody is there');
talker('b2', '127.0.0.1', $TEST_NGINX_BACKEND_PORT2);
wait_for('it is back', 15, sub { talk() eq 'b2' });



=== TEST 3: zedcup that does not run: the session is closed, and the log says why
--- http_config
--- script
is(talk(), 'closed', 'closed');
like(error_log(), qr/zedcup: instance "web": zedcup does not run in this worker: neither "zedcup_store" nor run_workers\(\) has started it/, 'the reason');
