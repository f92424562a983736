# The stores besides Consul, in an nginx that has no ngx_lua.
use lib 't/lib';
use PlainTest;
use ZedcupTest 'no_plan';
use ZedcupStore;

plain_setup();
run_tests();

__DATA__

=== TEST 1: etcd, through its death and a reload
--- store: etcd
--- url: etcd://127.0.0.1:$TEST_NGINX_CLOSED_PORT,127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX
--- script
sub etcd_host {
    my $i = shift;
    etcd_put("instances/web/pools/1/hosts/$i/host", '127.0.0.1');
    etcd_put("instances/web/pools/1/hosts/$i/port", $TEST_NGINX_BACKEND_PORT + $i - 1);
}
etcd_host(1);
serves('one host', qr/^b1=8$/);
etcd_host(2);
serves('two', qr/^b1=4 b2=4$/);
etcd_put('instances/web/pools/1/hosts/2/port', 99999);
serves('a bad port leaves its host out', qr/^b1=8$/);
like(error_log(), qr{zedcup: $ENV{TEST_NGINX_PREFIX}/instances/web/pools/1/hosts/2/port: [^\n]*99999}, 'and is named');
ZedcupStore::etcd_stop();
wait_for('noticed', 5, sub { error_log() =~ /trying again/ });
reload();
is(asked(8), 'b1=8', 'etcd is dead, requests are not');
ZedcupStore::etcd_start();
etcd_host(2);
serves('followed again', qr/^b1=4 b2=4$/);
etcd_delete('instances/web/');
serves('deleted', qr/^502=8$/);



=== TEST 2: the embedded store, written by another nginx
--- store: embedded
--- url: embedded:$TEST_NGINX_STORE_PATH
--- script
serves('empty', qr/^502=8$/);
lua_writes('$TEST_NGINX_STORE_PATH', 'web', 'b1', 'b2');
serves('written', qr/^b1=4 b2=4$/);
lua_writes('$TEST_NGINX_STORE_PATH', 'web', 'b3');
serves('and changed', qr/^b3=8$/);
reload();
is(asked(8), 'b3=8', 'a reload');
kill KILL => leader_pid();
lua_writes('$TEST_NGINX_STORE_PATH', 'web', 'b2');
serves('also once the leader is dead', qr/^b2=8$/);
--- no_error_log
[emerg]



=== TEST 3: files that are no store
--- store: embedded
--- url: embedded:/proc/zedcup.db
--- script
sub reported { my $what = shift; wait_for("reported: $what", 5, sub { error_log() =~ /\[(?:warn|error)\][^\n]*zedcup: embedded [^\n]*$what/ }) }
reported('/proc/zedcup\.db');
is(asked(2), '502=2', 'nothing to serve from a folder where no file can be made');
is(asked(2, '/alive'), 'yes=2', 'but nginx serves');
my $path = '$TEST_NGINX_STORE_PATH';
open my $out, '>', "$path.no" or die $!;
print $out 'this is no database, but some text' x 100;
close $out;
use_store("embedded:$path.no");
reported('not a database');
is(asked(2), '502=2', 'nor from a file that is no database');
is(asked(2, '/alive'), 'yes=2', 'but nginx serves');
is(conf_test("zedcup_store embedded:$path.no;"), 'ok', 'and nginx -t does not look');



=== TEST 4: a disk that is full
--- store: embedded
--- url: embedded:$TEST_NGINX_STORE_PATH
--- script
# the first nginx keeps the log of writes, which is longer than another may write
my $path = '$TEST_NGINX_STORE_PATH';
lua_writes($path, 'web', 'b2');
lua_writes($path, 'web', 'b1');
serves('the first serves', qr/^b1=8$/);
cmp_ok(-s "$path-wal", '>', 33 * 1024, 'the log is long');
my $pid = spawn_nginx('full', "load_module $ENV{ZEDCUP_MODULE};", <<"END", 33);
zedcup_store embedded:$path;
upstream app { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { proxy_pass http://app; } }
END
my $got = sub { my (undef, $body) = nginx_at($TEST_NGINX_EXTRA_PORT, '/'); return $body };
wait_for('it serves', 5, sub { $got->() eq 'b1' });
wait_for('what cannot be written is reported', 5, sub { log_of('full') =~ /\[warn\][^\n]*zedcup: no session in the store: [^\n]*disk/ });
lua_writes($path, 'web', 'b2');
wait_for('it follows', 5, sub { $got->() eq 'b2' });
is(end_nginx($pid), 0, 'and ends well');
# (requests of before the first reading have errors of their own: "*1 …")
unlike(log_of('full'), qr/\[(?:error|crit|alert|emerg)\] \S+ (?!\*)/, 'with a warning, no more');



=== TEST 5: a worker that quits while its store does not let go of a write
--- store: embedded
--- url: embedded:$TEST_NGINX_STORE_PATH
--- script
lua_writes('$TEST_NGINX_STORE_PATH', 'web', 'b1');
serves('it serves', qr/^b1=8$/);
open my $sqlite, '|-', 'sqlite3', '$TEST_NGINX_STORE_PATH' or die $!;
syswrite $sqlite, "BEGIN IMMEDIATE;\n.shell touch $TEST_NGINX_STORE_PATH.held\n";
wait_for('nobody else can write', 5, sub { -e '$TEST_NGINX_STORE_PATH.held' });
reload();
is(asked(8), 'b1=8', 'the new workers serve');
close $sqlite;
