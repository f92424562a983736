# What a configuration with `zedcup` in stream {} may not say, as `nginx -t` puts it;
# and a reload that is refused.
BEGIN { $ENV{ZEDCUP_TEST_STREAM} = 1 }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use StreamTest;

master_on();

our $all = "$ENV{ZEDCUP_MODULE} $ENV{TEST_NGINX_STREAM_MODULES}";
our $server = 'server { listen 127.0.0.1:1; proxy_pass db; }';
our $http = 'http { }';

# [what the upstream says, what nginx says]
sub refused {
    for (@_) {
        my ($upstream, $wanted) = @$_;
        my $said = nginx_says($all, "$http\nstream { upstream db { $upstream } $server }");
        like($said, qr/\[emerg\].*$wanted/, "refused: $upstream");
    }
}

run_tests();

__DATA__

=== TEST 1: parameters
--- script
refused(
    ['zedcup;', 'invalid number of arguments in "zedcup" directive'],
    ['zedcup "";', '"zedcup" directive needs the name of an instance'],
    ['zedcup pg; zedcup pg;', '"zedcup" directive is duplicate'],
    ['zedcup pg method=fair;', 'invalid "method=fair": expected weighted_rr, hash, least_conn, ewma or random'],
    ['zedcup pg method=;', 'invalid "method=": expected weighted_rr'],
    ['zedcup pg key=;', 'invalid parameter "key=": expected method= or key='],
    ['zedcup pg key=$no_such_variable;', 'unknown "no_such_variable" variable'],
    ['zedcup pg backup;', 'invalid parameter "backup": expected method= or key='],
    ['zedcup pg sticky=route;', 'invalid parameter "sticky=route": sticky is for upstreams in http'],
);



=== TEST 2: what is not allowed beside it
--- script
refused(
    ['zedcup pg; server 127.0.0.1:1;', '"server" is not allowed beside "zedcup" in upstream "db" in .*try.conf:\d+'],
    ['server 127.0.0.1:1; zedcup pg;', '"server" is not allowed beside "zedcup" in upstream "db"'],
    ['zone z 64k; zedcup pg;', '"zone" is not allowed beside "zedcup" in upstream "db"'],
    ['zedcup pg; zone z 64k;', '"zone" is not allowed beside "zedcup" in upstream "db"'],
    ['least_conn; zedcup pg;', '"zedcup" directive cannot be beside another balancing method'],
    ['zedcup pg; least_conn;', 'another balancing method is not allowed beside "zedcup" in upstream "db" in .*try.conf:\d+'],
    ['zedcup pg; hash $remote_addr consistent;', 'another balancing method is not allowed beside "zedcup"'],
    ['zedcup pg; random two;', 'another balancing method is not allowed beside "zedcup"'],
);
like(nginx_says($::all, "$::http\nstream { zedcup pg; }"), qr/"zedcup" directive is not allowed here/, 'outside of an upstream');



=== TEST 3: what must be there, in either order
--- script
my $stream = "stream { upstream db { zedcup pg; } $::server }";
my ($zedcup, @stream_modules) = split ' ', $::all;
my $own = $stream_modules[-1];
like(nginx_says($::all, "$::http\n$stream"), qr/test is successful/, 'http {} before');
like(nginx_says($::all, "$stream\n$::http"), qr/test is successful/, 'http {} behind');
like(nginx_says("$own $zedcup", "$stream\n$::http"), qr/undefined symbol: ngx_stream/, 'without a stream that is loaded')
    if @stream_modules > 1;
like(nginx_says("@stream_modules $zedcup", "$stream\n$::http"), qr/test is successful/, 'modules in another order');
like(nginx_says($::all, $stream), qr/\[emerg\].*"zedcup" in upstream "db" in .*try.conf:\d+ needs an http \{\} block/, 'no http {}');
like(nginx_says("@stream_modules", "$::http\n$stream"), qr/\[emerg\].*"zedcup" in stream needs a load_module of ngx_http_zedcup_module.so/, 'no module for http');
my $plain = "stream { upstream db { server 127.0.0.1:1; } $::server }";
like(nginx_says("@stream_modules", $plain), qr/test is successful/, 'it may be loaded for nothing');
like(nginx_says($::all, $::http), qr/test is successful/, 'without stream {}');
like(nginx_says($::all, $plain), qr/test is successful/, 'without http {}');
like(nginx_says("@stream_modules", "stream { log_format x '\$zedcup_host'; access_log /dev/null x; $::server upstream db { server 127.0.0.1:1; } }"),
     qr/test is successful/, 'its variables are there');



=== TEST 4: a module for http of another version is an error, not a crash
--- script
my $dir = $ENV{TEST_NGINX_SOCKET_DIR};
open my $out, '>', "$dir/other.c" or die $!;
print $out <<'END';
struct { unsigned abi; void *module; } table = { 99, 0 };
const void *zedcup_seam(void) { return &table; }
END
close $out;
is(system("cc -shared -fPIC -o $dir/other.so $dir/other.c"), 0, 'another one');
my ($zedcup, @stream_modules) = split ' ', $::all;
my $conf = "$::http\nstream { upstream db { zedcup pg; } $::server }";
my $preload = $ENV{TEST_NGINX_LD_PRELOAD} // '';
like(nginx_says("@stream_modules", $conf, "LD_PRELOAD='$preload $dir/other.so'"),
     qr/\[emerg\].*needs interface \d+ of ngx_http_zedcup_module.so, which has 99: take both of one version/, 'its number is looked at');
like(nginx_says("@stream_modules", $conf, "LD_PRELOAD='$preload $zedcup'"),
     qr/\[emerg\].*needs a load_module of ngx_http_zedcup_module.so/, 'nor one that this configuration does not load');



=== TEST 5: reloads that are refused leave all as it was, also for a worker that starts later
--- lua
f.configure("web", f.hosts(2))
ngx.say("ok")
--- script
spawn_talkers(2);
configure();
my $held = hold();
like(my $name = said($held), qr/^b\d$/, 'a session');
my $conf = ZedcupStore::slurp($Test::Nginx::Util::ConfFile);
my @bad = (sub { s/load_module \S+ngx_http_zedcup_module.so;// },
           sub { s/zedcup web;/zedcup web sticky=x;/ },
           sub { s/zedcup web;/zedcup web; least_conn;/ });
for my $i (0 .. $#bad) {
    edit_conf($bad[$i]);
    kill HUP => master_pid();
    wait_for('refused', 5, sub { $i < (() = error_log() =~ /\[emerg\]/g) });
    is(talks(2), 'b1=1 b2=1', 'as before');
    edit_conf(sub { $_ = $conf });
}
syswrite $held, "here\n";
is(said($held), 'here', 'the session goes on');
my ($pid) = worker_pids();
kill KILL => $pid;
wait_for('another worker', 5, sub { my @now = worker_pids(); @now == 1 && $now[0] != $pid });
wait_for('it serves', 5, sub { talk() =~ /^b\d$/ });
is(talks(2), 'b1=1 b2=1', 'both hosts');
reload();
is(talks(2), 'b1=1 b2=1', 'and a good reload goes on');
--- no_error_log
signal 11



=== TEST 6: the stream upstreams go and come by reload, and another instance takes their place
--- lua
f.configure("web", f.hosts(1))
f.configure("other", { { name = "b2", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT2 } })
ngx.say("ok")
--- script
spawn_talkers(2);
configure();
is(talks(2), 'b1=2', 'the one');
edit_conf(sub { s/zedcup web;/zedcup other;/ });
reload();
is(talks(2), 'b2=2', 'the other');
edit_conf(sub { s/zedcup other;/server 127.0.0.1:$ENV{TEST_NGINX_BACKEND_PORT};/ });
reload();
is(talks(2), 'b1=2', 'none');
edit_conf(sub { s/server 127.0.0.1:$ENV{TEST_NGINX_BACKEND_PORT};/zedcup other method=least_conn;/ });
reload();
is(talks(2), 'b2=2', 'the other again');
