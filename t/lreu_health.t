# lreu.health: active checks of real backends, and checks of what the logger saw.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(3);
worker_connections(512);
master_on();

# Backends 127.0.0.1, … on BACKEND_PORT; `ctl` says what a path answers.
our $front = <<'END';
lua_shared_dict ctl 1m;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            local ctl, me = ngx.shared.ctl, ngx.var.server_addr
            ctl:incr("asked " .. me .. ngx.var.uri, 1, 0)
            ngx.sleep(ctl:get("delay " .. me) or 0)
            ngx.status = ctl:get("status " .. me) or 200
            ngx.print(me)
        }
    }
    location = /404 { return 404; }
    location = /302 { return 302 /; }
    location = /slow { content_by_lua_block { ngx.sleep(3) } }
}
upstream lreu {
    server 0.0.0.1;
    balancer_by_lua_block {
        local peer = assert(require("lreu.picker").rr("web"))
        assert(require("ngx.balancer").set_current_peer(peer.host, peer.port))
    }
}
log_by_lua_block { require("lreu.logger").calc() }
END

our $locations = <<'END';
    location /up { proxy_pass http://lreu; }
    location = /ctl {
        content_by_lua_block {
            local ctl, key = ngx.shared.ctl, ngx.var.arg_key:gsub("+", " ")
            if ngx.var.arg_value then ctl:set(key, tonumber(ngx.var.arg_value)) end
            ngx.say(ctl:get(key))
        }
    }
END

our $checks = 'require("lreu.health").init({ storage = ngx.shared.lreu, interval = 1, max_fails = 2, timeout = 300 })';

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $front);
    $block->set_value('config', ($block->config // '') . $locations);
    $block->set_value('etcd', 'beside');
    $block->set_value('syncer', ' ') if !defined $block->syncer;
    $block->set_value('init_worker', $checks) if !defined $block->init_worker;
});

run_tests();

__DATA__

=== TEST 1: peers that fail their check are out in every worker, and back when they are well
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
my $closed = $ENV{TEST_NGINX_CLOSED_PORT};
etcd_txn("web/127.0.0.1:$port" => '{"check_url":"/health"}', "web/127.0.0.2:$port" => '{"checkurl":"/health"}',
    "web/127.0.0.3:$port" => '{"check_url":"/404"}', "web/127.0.0.1:$closed" => '{}',
    "api/127.0.0.1:$port" => '{"check_url":"/302"}', "api/127.0.0.2:$port" => '{"check_url":"/slow"}',
    "down/127.0.0.1:$port" => '{"status":"down","check_url":"/never"}');
my ($one, $two, $three) = map { "127.0.0.$_:$port/1" } 1 .. 3;
my ($web, $api) = (qr/^(?=.*\Q$one\E(?: |$))(?=.*\Q$two\E(?: |$))(?=.*\Q$three\E\/checkdown)(?=.*:$closed\/1\/checkdown)/, "$one $two/checkdown");
all_show('two are out', 'web', $web, 6);
all_show('timeouts, too; a redirect is good', 'api', $api, 6);
body_of('/ctl?key=status+127.0.0.2&value=500');
all_show('the next is out', 'web', qr/\Q$two\E\/checkdown/, 6);
my $seen = each_worker('/pick?s=web');
is(join(' ', sort values %$seen), join(' ', ("127.0.0.1:$port") x 3), 'and not picked');
body_of('/ctl?key=status+127.0.0.2&value=200');
all_show('it is back', 'web', $web, 5);
is(body_of('/ctl?key=asked+127.0.0.1/never'), 'nil', 'who is down is not asked');
like(error_log(), qr/web: peer 127.0.0.2:$port is out after 2 bad checks: /, 'the log says why');
like(error_log(), qr/web: peer 127.0.0.2:$port is back/, 'and who is back');
--- no_error_log
[alert]



=== TEST 2: the checking worker is killed: who is out stays out, and comes back when well
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
etcd_txn("web/127.0.0.1:$port" => '{}', "web/127.0.0.2:$port" => '{}');
body_of('/ctl?key=status+127.0.0.2&value=503');
my ($one, $two) = map { "127.0.0.$_:$port/1" } 1 .. 2;
all_show('out', 'web', "$one $two/checkdown", 6);
my $first = feeder_pid();
kill KILL => $first;
wait_for('another checks', 3, sub { feeder_pid() != $first });
my $asked = body_of('/ctl?key=asked+127.0.0.1/');
wait_for('it does', 4, sub { body_of('/ctl?key=asked+127.0.0.1/') > $asked });
all_show('still out', 'web', "$one $two/checkdown");
my $second = feeder_pid();
kill KILL => $second;
body_of('/ctl?key=status+127.0.0.2&value=200');
wait_for('a third checks', 3, sub { feeder_pid() != $second });
all_show('back', 'web', "$one $two", 5);
# a reload hands it on
body_of('/ctl?key=status+127.0.0.1&value=503');
all_show('the other is out', 'web', "$one/checkdown $two", 6);
reload();
all_show('after a reload', 'web', "$one/checkdown $two");
body_of('/ctl?key=status+127.0.0.1&value=200');
all_show('and back', 'web', "$one $two", 6);
--- error_log
signal 9
--- no_error_log
[emerg]



=== TEST 3: ok_status and min_rises; all that are out are used all the same
--- init_worker
require("lreu.health").init({ storage = ngx.shared.lreu, healthcheck = { interval = 1, max_fails = 1, min_rises = 2, ok_status = { 404 } } })
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
etcd_txn("web/127.0.0.1:$port" => '{}', "web/127.0.0.2:$port" => '{}', "api/127.0.0.1:$port" => '{"check_url":"/404"}');
my ($one, $two) = map { "127.0.0.$_:$port/1" } 1 .. 2;
all_show('200 is not what was asked for', 'web', "$one/checkdown $two/checkdown", 6);
all_show('404 is', 'api', $one);
my $seen = each_worker('/pick?s=web');
is(scalar(grep { /^127/ } values %$seen), 3, 'used all the same');
body_of('/ctl?key=status+127.0.0.1&value=404');
all_show('well', 'web', "$one $two/checkdown", 5);
# gone with its key, and a new peer when it comes back
etcd_del("web/127.0.0.2:$port");
all_show('gone', 'web', $one);
body_of('/ctl?key=status+127.0.0.2&value=404');
etcd_put("web/127.0.0.2:$port", '{}');
all_show('it begins as a good one', 'web', "$one $two");
--- error_log
lreu: web: all peers are out
--- no_error_log
[alert]



=== TEST 4: a peer whose requests fail is out for a time; where most fail none is
--- init_worker
require("lreu.logger").init(ngx.shared.log, 60, ngx.shared.lreu)
require("lreu.health").init({ storage = ngx.shared.lreu, logcheck = { interval = 1, recover = 2, error_rate = 0.5, min_requests = 5 } })
--- syncer: none
--- lua
local p, ctl = $TEST_NGINX_BACKEND_PORT, ngx.shared.ctl
lreu.write("web", { { host = "127.0.0.1", port = p }, { host = "127.0.0.2", port = p }, { host = "127.0.0.3", port = p } })
ctl:set("status 127.0.0.2", 500)
local stop = lreu.background(2, "/up")
f.wait(5, function() return dict:get("checkdown:web:127.0.0.2:" .. p) end)
f.say("out")
ctl:set("status 127.0.0.2", 200)
f.wait(6, function() return not dict:get("checkdown:web:127.0.0.2:" .. p) end)
f.say("back")
for i = 1, 3 do ctl:set("status 127.0.0." .. i, 503) end
ngx.sleep(2.5)
f.say(dict:get("checkdown:web:127.0.0.1:" .. p), dict:get("checkdown:web:127.0.0.2:" .. p), dict:get("checkdown:web:127.0.0.3:" .. p))
stop()
--- response_body
out
back
nil nil nil
--- error_log
is out for 2 s
--- no_error_log
[alert]
--- timeout: 25



=== TEST 5: bad options name the key
--- init_worker
--- http_config
lua_shared_dict other 1m;
--- lua
local health = require("lreu.health")
local function try(options)
    local ok, ok2, err = pcall(health.init, options)
    ngx.say(ok and tostring(ok2) or "RAISED", " ", (tostring(ok and err or ok2):gsub("0x%x+", "0x")))
end
local lreu = ngx.shared.lreu
try(nil)
try({})
try({ storage = "nope" })
try({ storage = ngx.shared.other })
try({ storage = lreu, interval = 0 })
try({ storage = lreu, interval = "x" })
try({ storage = lreu, timeout = -1 })
try({ storage = lreu, max_fails = 1.5 })
try({ storage = lreu, ok_status = {} })
try({ storage = lreu, ok_status = { 99 } })
try({ storage = lreu, ok_status = 200 })
try({ storage = lreu, max_fails = print })
try({ storage = lreu, max_fails = 0 / 0 })
try({ storage = lreu, healthcheck = 7 })
try({ storage = lreu, logcheck = "x" })
try({ storage = lreu, logcheck = {} })
require("lreu.logger").init(ngx.shared.log)
try({ storage = lreu, logcheck = { interval = 0 } })
try({ storage = lreu, logcheck = { recover = {} } })
try({ storage = lreu, logcheck = { error_rate = 2 } })
try({ storage = lreu, logcheck = { min_requests = 0 / 0 } })
--- response_body_like chomp
^nil expected a table of options, got nil
nil storage: expected ngx.shared.<name>, got nil
nil storage: no lua_shared_dict nope
nil storage: no syncer of this dictionary in this worker: call syncer.init\(\) first
nil .*interval: expected 1..86400, got 0
nil .*interval: expected 1..86400, got "x"
nil .*timeout: expected 1..3600000, got -1
nil .*max_fails: expected 1..1000000, got 1.5
nil .*ok_status: expected a list of statuses, got .*
nil .*ok_status\[1\]: expected 100..599, got 99
nil .*ok_status: expected a list of statuses, got 200
nil .*Cannot serialise function: type not supported
nil .*must not be NaN or Inf
nil healthcheck: expected a table, got 7
nil logcheck: expected a table, got x
nil logcheck: call logger.init\(\) first
nil logcheck.interval: expected 1..3600, got 0
nil logcheck.recover: expected 1..86400, got table: 0x
nil logcheck.error_rate: expected 0..1, got 2
nil logcheck.min_requests: expected 1..1000000, got -?nan
--- error_log
lreu: health.init: 
--- no_error_log
[alert]



=== TEST 6: a reload without checks brings back whom they kept out, and nobody else
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
etcd_txn("web/127.0.0.1:$port" => '{}', "web/127.0.0.2:$port" => '{}', "web/127.0.0.3:$port" => '{}');
body_of("/mark?peer=127.0.0.3:$port");
body_of('/ctl?key=status+127.0.0.2&value=503');
my ($one, $two, $three) = map { "127.0.0.$_:$port/1" } 1 .. 3;
all_show('out', 'web', "$one $two/checkdown $three/checkdown", 6);
# the checks have no say about what somebody else set, also when they begin anew
my $first = feeder_pid();
kill KILL => $first;
wait_for('another checks', 3, sub { feeder_pid() != $first });
my $asked = body_of('/ctl?key=asked+127.0.0.3/');
wait_for('it does', 5, sub { body_of('/ctl?key=asked+127.0.0.3/') > $asked + 1 });
all_show('still out', 'web', "$one $two/checkdown $three/checkdown");
edit_conf(sub { s/require\("lreu.health"\).init\(.*?\}\)// or die });
reload();
all_show('back', 'web', "$one $two $three/checkdown");
--- config
location = /mark {
    content_by_lua_block {
        local dict = ngx.shared.lreu
        dict:set("checkdown:web:" .. ngx.var.arg_peer, true)
    }
}
--- error_log
signal 9
--- no_error_log
[emerg]
