# zedcup in an nginx that has no ngx_lua: zedcup_store, a real Consul, upstreams.
# Other stores are in zedcup_plain_stores.t, what nginx itself may go through in
# zedcup_plain_life.t.
use lib 't/lib';
use PlainTest;
use ZedcupTest 'no_plan';
use ZedcupStore;

certificate('localhost', san => 'IP:127.0.0.1');
plain_setup();
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
my $extra = spawn_server();
wait_for('it is back', 15, sub { (consul_keys()->{'instances/web/pools/1/hosts/2/up'} // '') ne 'false' && asked(4) =~ /extra/ });
stop_server($extra);



=== TEST 3: instances that are deleted, all at once too, and what is wrong in them
--- main
upstream other { zedcup other; }
--- config
location /other { proxy_pass http://other; }
--- script
put_host($_) for 1 .. 3;
put_host(1, undef, 'other');
serves('three', qr/^b1=\d b2=\d b3=\d$/);
serves('another', qr/^b1=8$/, '/other');
consul_put('instances/web/pools/1/hosts/2/port', 99999);
serves('a bad port leaves its host out', qr/^b1=4 b3=4$/);
consul_put('instances/web/pools/1/hosts/3/weight', -1);
serves('so does a bad weight', qr/^b1=8$/);
like(error_log(), qr{\[error\].*zedcup: $ENV{TEST_NGINX_PREFIX}/instances/web/pools/1/hosts/2/port: [^\n]*99999}, 'the port by its key');
like(error_log(), qr{\[error\].*zedcup: $ENV{TEST_NGINX_PREFIX}/instances/web/pools/1/hosts/3/weight: [^\n]*-1}, 'the weight by its key');
consul_put('instances/web/pools/1/hosts/1/port', 'x');
wait_for('reported', 5, sub { error_log() =~ m{hosts/1/port: } });
is(asked(8), 'b1=8', 'nothing usable is left: the last good content stays');
is(asked(8, '/other'), 'b1=8', 'and the other instance serves');
consul_delete('instances/other/', 1);
serves('deleted', qr/^502=8$/, '/other');
like(error_log(), qr/there is no such instance/, 'which is said');
put_host($_) for 1 .. 2;
consul_delete('instances/web/pools/1/hosts/3/', 1);
serves('mended', qr/^b1=4 b2=4$/);
consul_delete('instances/', 1);
serves('all are gone', qr/^502=8$/);
is(asked(1, '/alive'), 'yes=1', 'nginx is not');
put_host(2);
serves('and back', qr/^b2=8$/);



=== TEST 4: several servers, of which the first is dead
--- url: consul://127.0.0.1:$TEST_NGINX_CLOSED_PORT,127.0.0.1:$TEST_NGINX_CONSUL_PORT/ prefix=$TEST_NGINX_PREFIX
--- script
put_host(1);
serves('the second answers', qr/^b1=8$/);
put_host(2);
serves('and is followed', qr/^b1=4 b2=4$/);
like(error_log(), qr/zedcup: consul 127.0.0.1:$ENV{TEST_NGINX_CLOSED_PORT}: .*trying again/, 'which is said');



=== TEST 5: TLS towards the store, and tokens
--- url: consul://127.0.0.1:$TEST_NGINX_EXTRA_PORT/$TEST_NGINX_PREFIX ssl=true ca_cert=$TEST_NGINX_CERT_DIR/localhost.crt token=
--- script
put_host(1);
consul_stop();
my $cert = "$ENV{TEST_NGINX_CERT_DIR}/localhost";
consul_start(ports => { https => $ENV{TEST_NGINX_EXTRA_PORT} + 0 }, cert_file => "$cert.crt", key_file => "$cert.key",
             acl => { enabled => JSON::PP::true, default_policy => 'allow' });
serves('over TLS', qr/^b1=8$/);
edit_conf(sub { s/token=/token=11111111-2222-3333-4444-555555555555/ });
reload();
wait_for('a wrong token is reported', 5, sub { error_log() =~ /403[^\n]*ACL not found/ });
put_host(2);
is(asked(8), 'b1=8', 'the last good content stays');
edit_conf(sub { s/token=1\S+?;/token=;/ });
reload();
serves('a right one follows again', qr/^b1=4 b2=4$/);
edit_conf(sub { s/ca_cert=\S+// });
reload();
wait_for('an unknown authority is reported', 5, sub { error_log() =~ /zedcup: [^\n]*certificate/ });
is(asked(8), 'b1=4 b2=4', 'the last good content stays');
consul_stop();



=== TEST 6: what is wrong with the directive stops nginx -t, and says what
--- script
my $consul = 'zedcup_store consul://127.0.0.1/x';
is(conf_test($_->[0]), $_->[1], $_->[0]) for
    ['zedcup_store http://127.0.0.1/x;', 'zedcup_store: "http://127.0.0.1/x": expected consul://host:port/prefix, '
        . 'etcd://host:port,host:port/prefix or embedded:/path'],
    ['zedcup_store https://127.0.0.1/x;', 'zedcup_store: "https://127.0.0.1/x": expected consul://host:port/prefix, '
        . 'etcd://host:port,host:port/prefix or embedded:/path'],
    ['zedcup_store consul://127.0.0.1:99999/x;', 'zedcup_store: consul.addresses[1]: expected "host:port", got "127.0.0.1:99999"'],
    ['zedcup_store consul://127.0.0.1,/x;', 'zedcup_store: "consul://127.0.0.1,/x": a server is missing beside a comma'],
    ['zedcup_store etcd://127.0.0.1,127.0.0.2/x tokn=5;', 'zedcup_store: etcd.tokn: unknown option'],
    ['zedcup_store embedded:/tmp/x.db prefix;', 'zedcup_store: "prefix": expected name=value'],
    ['zedcup_store embedded:/tmp/x.db prefix=a//b;', 'zedcup_store: prefix: expected printable path segments'],
    ['zedcup_store embedded:x.db;', 'zedcup_store: "embedded:x.db": expected consul://host:port/prefix, '
        . 'etcd://host:port,host:port/prefix or embedded:/path'],
    ["$consul; $consul;", '"zedcup_store" directive is duplicate'],
    ["server { $consul; }", '"zedcup_store" directive is not allowed here'],
    ["server { location / { $consul; } }", '"zedcup_store" directive is not allowed here'],
    ['zedcup_store;', 'invalid number of arguments in "zedcup_store" directive'],
    ["$consul ssl=maybe;", 'zedcup_store: consul.ssl: expected true or false, got "maybe"'],
    ["$consul ssl=true client_cert=/x;", 'zedcup_store: consul.client_cert: expected together with client_key'],
    ["$consul stale=x;", 'zedcup_store: consul.stale: expected true or false, got "x"'],
    ["$consul ssl=true ca_cert=/nowhere/ca.pem;", 'zedcup_store: consul.ca_cert: cannot read /nowhere/ca.pem: No such file or directory'],
    ["$consul ssl=true ca_cert=$ENV{TEST_NGINX_CERT_DIR}/localhost.crt ssl_verify=false read_timeout=500 stale=true;", 'ok'],
    ["zedcup_store etcd://127.0.0.1:$ENV{TEST_NGINX_CLOSED_PORT}/x user=a password=b;", 'ok'],
    ["$consul; zedcup_zone 63k;", 'size "63k" is too small, at least 64k are needed'];
