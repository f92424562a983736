# zedcup in an nginx that has no ngx_lua: zedcup_store, a real Consul, upstreams.
BEGIN {
    $ENV{ZEDCUP_TEST_PLAIN} = 1;
    $ENV{TEST_NGINX_LOAD_MODULES} = $ENV{ZEDCUP_MODULE};
    $ENV{TEST_NGINX_LOG_LEVEL} = 'notice';
}
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(2);
worker_connections(512);
master_on();
no_root_location();

$ZedcupStore::default_store = 'consul';

our $backends = join '', map {
    "server { listen 127.0.0.1:" . ($ENV{TEST_NGINX_BACKEND_PORT} + $_ - 1)
        . "; location / { return 200 b$_; } }\n" } 1 .. 3;
our $store = "zedcup_store consul://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/";

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    $block->set_value('http_config', ($block->http_config // $store . q($TEST_NGINX_PREFIX;))
        . "\n$backends upstream app { zedcup web; }\n");
    $block->set_value('config', 'location / { proxy_pass http://app; }');
    $block->set_value('no_error_log', "[alert]\n") if !defined $block->no_error_log;
});

sub asked {
    my $n = shift;
    my %got;
    for (1 .. $n) {
        my ($status, $body) = get('/');
        $got{$status == 200 ? $body : $status}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

sub put_host {
    my ($i, $port) = @_;
    my $key = "instances/web/pools/1/hosts/$i";
    consul_put("$key/host", '127.0.0.1');
    consul_put("$key/port", $port // $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1);
}

sub serves {
    my ($name, $wanted) = @_;
    wait_for($name, 8, sub { my $got = asked(8); return $got =~ $wanted });
}

run_tests();

__DATA__

=== TEST 1: follows a real Consul, through its death, a reload and killed workers
--- script
put_host(1);
serves('one host', qr/^b1=8$/);
put_host(2);
serves('two', qr/^b1=\d b2=\d$/);
consul_put('instances/web/pools/1/hosts/1/up', 'false');
serves('one is drained', qr/^b2=8$/);
consul_stop();
is(asked(8), 'b2=8', 'the store is dead, requests are not');
reload();
is(asked(8), 'b2=8', 'nor by a reload meanwhile');
for my $pid (worker_pids()) {
    kill KILL => $pid;
    wait_for('another worker', 5, sub { my @now = worker_pids(); return @now == 2 && !grep { $_ == $pid } @now });
}
is(asked(8), 'b2=8', 'nor by killed workers');
consul_start();
consul_put('instances/web/pools/1/hosts/1/up', 'true');
serves('follows again', qr/^b1=\d b2=\d$/);
--- no_error_log
[emerg]



=== TEST 2: health checks take a host down and bring it back, without Lua
--- script
put_host(1);
put_host(2, $TEST_NGINX_EXTRA_PORT);
consul_put('config/healthcheck_interval', 1);
consul_put('instances/web/pools/1/healthcheck/interval', 1);
consul_put('instances/web/pools/1/max_errors', 1);
consul_put('instances/web/pools/1/min_rises', 1);
serves('the other serves', qr/^b1=8$/);
wait_for('it is down in the store', 10, sub { (consul_keys()->{'instances/web/pools/1/hosts/2/up'} // '') eq 'false' });
spawn_server();
wait_for('it is back', 15, sub { (consul_keys()->{'instances/web/pools/1/hosts/2/up'} // '') ne 'false' && asked(4) =~ /extra/ });



=== TEST 3: a bad URL
--- http_config
zedcup_store http://127.0.0.1/x;
--- config
--- must_die
--- error_log
zedcup_store: "http://127.0.0.1/x": expected consul://host:port/prefix



=== TEST 4: a bad port
--- http_config
zedcup_store consul://127.0.0.1:99999/x;
--- config
--- must_die
--- error_log
zedcup_store: consul.addresses



=== TEST 5: an option that means nothing
--- http_config
zedcup_store etcd://127.0.0.1,127.0.0.2/x tokn=5;
--- config
--- must_die
--- error_log
tokn: unknown option



=== TEST 6: an option without a value
--- http_config
zedcup_store embedded:/tmp/x.db prefix;
--- config
--- must_die
--- error_log
zedcup_store: "prefix": expected name=value



=== TEST 7: a bad prefix
--- http_config
zedcup_store embedded:/tmp/x.db prefix=a//b;
--- config
--- must_die
--- error_log
zedcup_store: prefix: expected printable path segments
