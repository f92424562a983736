# lreu.syncer on the other stores: Consul, and the embedded one.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(3);
worker_connections(512);
master_on();

# In the embedded store keys are written as its users do: by sqlite3.
sub embedded_sql {
    my $sql = shift;
    system('sqlite3', '-cmd', '.timeout 5000', "$ENV{TEST_NGINX_STORE_PATH}", $sql) == 0 or die 'sqlite3';
}

run_tests();

__DATA__

=== TEST 1: Consul: put, delete, folders, beside zedcup in the same nginx
--- store: consul
--- syncer
consul = { port = $TEST_NGINX_CONSUL_PORT }, path = "/$TEST_NGINX_PREFIX/services/"
--- backends: 1
--- config
location = /zedcup {
    content_by_lua_block {
        local zedcup, f = require("zedcup"), require("zedcup_fixture")
        f.configure("web", f.hosts(1))
        ngx.say(f.ask(zedcup.create_handler("web")))
    }
}
--- script
consul_put('services/', '');
consul_put('services/web/', '');
consul_put('services/web/10.0.0.1:80', '{"weight":3}');
all_show('there', 'web', '10.0.0.1:80/3');
like(body_of('/zedcup'), qr{^b1}, 'zedcup');
consul_put('services/web/[::1]:80', '{"status":"down"}');
all_show('two', 'web', '10.0.0.1:80/3 [::1]:80/1/down');
consul_delete('services/web/10.0.0.1:80');
all_show('one', 'web', '[::1]:80/1/down');
kill KILL => feeder_pid();
consul_put('services/web/10.0.0.2:80', '');
all_show('after a death', 'web', '10.0.0.2:80/1 [::1]:80/1/down');
consul_delete('services/', 1);
all_show('gone', 'web', 'no such service: web');
--- error_log
signal 9
--- no_error_log
[emerg]



=== TEST 2: Consul stops and starts: the last good stays
--- store: consul
--- syncer
consul = { host = "127.0.0.1", port = $TEST_NGINX_CONSUL_PORT }, path = "$TEST_NGINX_PREFIX/services"
--- script
consul_put('services/web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1');
consul_stop();
reload();
all_show('the last good stays', 'web', '10.0.0.1:80/1');
consul_start();
wait_for('it takes writes', 10, sub { eval { consul_put('services/web/10.0.0.2:80', '{}'); 1 } });
all_show('followed again', 'web', '10.0.0.1:80/1 10.0.0.2:80/1', 15);
--- error_log
consul
--- no_error_log
[emerg]



=== TEST 3: the embedded store, the same file as zedcup's
--- store: embedded
--- syncer
embedded = { path = "$TEST_NGINX_STORE_PATH" }, path = "/services/"
--- script
all_show('nothing yet', 'web', qr/^no such service: web$/);
my $put = sub {
    my ($key, $value) = @_;
    embedded_sql("BEGIN IMMEDIATE; UPDATE meta SET revision = revision + 1; "
        . "REPLACE INTO kv (key, value, flags, modified, session) VALUES (CAST('$key' AS BLOB), CAST('$value' AS BLOB), 0, (SELECT revision FROM meta), x''); COMMIT;");
};
$put->('services/web/10.0.0.1:80', '{"weight":2}');
all_show('there', 'web', '10.0.0.1:80/2');
$put->('services/web/10.0.0.2:80', '{"status":"down"}');
all_show('two', 'web', '10.0.0.1:80/2 10.0.0.2:80/1/down');
embedded_sql("BEGIN IMMEDIATE; UPDATE meta SET revision = revision + 1; DELETE FROM kv WHERE CAST(key AS TEXT) = 'services/web/10.0.0.1:80'; COMMIT;");
all_show('one', 'web', '10.0.0.2:80/1/down');
