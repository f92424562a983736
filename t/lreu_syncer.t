# lreu.syncer on a real etcd: a dictionary that is equal to a tree, in every worker,
# whatever happens.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(4);
worker_connections(512);
master_on();

our $backends = <<'END';
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "$server_addr"; }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('etcd', 'beside') if !defined $block->etcd;
    $block->set_value('syncer', ' ')
        if !defined $block->syncer && ($block->http_config // '') !~ /init_worker/;
    $block->set_value('no_error_log', "[alert]\n[emerg]\n")
        if defined $block->error_log && !defined $block->no_error_log;
});

run_tests();

__DATA__

=== TEST 1: the example of the original's documentation
--- http_config eval
<<'END' . $::backends
lua_shared_dict lreu-upstream 1m;
init_worker_by_lua_block {
    local syncer = require "lreu.syncer"
    syncer.init({
        etcd_host = "127.0.0.1",
        etcd_port = $TEST_NGINX_CONSUL_PORT,
        etcd_path = "/v1/testing/services/",
        storage = ngx.shared["lreu-upstream"]
    })
    local picker = require "lreu.picker"
    picker.init(ngx.shared["lreu-upstream"])
}
upstream test {
    server 127.0.0.1:2222; # fake server
    balancer_by_lua_block {
        local balancer = require "ngx.balancer"
        local u = require "lreu.picker"
        local s, err = u.rr("my_test_service")
        if not s then
            ngx.log(ngx.ERR, err)
            return ngx.exit(500)
        end
        local ok, err = balancer.set_current_peer(s.host, s.port)
        if not ok then
            ngx.log(ngx.ERR, "failed to set current peer: " .. err)
            return ngx.exit(500)
        end
    }
}
END
--- config
location = /up { proxy_pass http://test; }
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
my $tree = '/v1/testing/services/my_test_service';
is((get('/up'))[0], 500, 'no such service yet');
etcdctl('put', "$tree/127.0.0.1:$port", '{"weight": 3, "slow_start": 30, "checkurl": "/health"}');
etcdctl('put', "$tree/127.0.0.2:$port", '{"weight": 4, "status": "down"}');
etcdctl('put', "$tree/127.0.0.3:$port", '{"weight": 5}');
all_show('all of them', 'my_test_service', "127.0.0.1:$port/3 127.0.0.2:$port/4/down 127.0.0.3:$port/5");
my %seen;
$seen{body_of('/up')}++ for 1 .. 80;
is($seen{'127.0.0.2'}, undef, 'down is down');
is($seen{'127.0.0.1'} + $seen{'127.0.0.3'}, 80, 'the others serve');
etcdctl('put', "$tree/127.0.0.2:$port", '{"weight": 4, "status": "up"}');
etcdctl('del', "$tree/127.0.0.1:$port");
all_show('one up, one gone', 'my_test_service', "127.0.0.2:$port/4 127.0.0.3:$port/5");
etcdctl('put', "$tree/127.0.0.3:$port", '{"Metadata": {"weight": 7, "status": "down"}}');
all_show('Metadata', 'my_test_service', "127.0.0.2:$port/4 127.0.0.3:$port/7/down");
%seen = ();
$seen{body_of('/up')}++ for 1 .. 10;
is($seen{'127.0.0.2'}, 10, 'one is left');
--- error_log eval
qr{no services yet|no such service}
--- no_error_log
[alert]



=== TEST 2: what is wrong gets its default and one line that names the key; a bad address is skipped
--- script
my %bad = ('10.0.0.1:80' => 'nonsense', '10.0.0.2:80' => '{"weight": "many"}', '10.0.0.3:80' => '[1]',
    '10.0.0.4:80' => '{"status": 7, "weight": 2}', '10.0.0.5:80' => '{"check_url": "nope"}',
    '10.0.0.6:80' => '{"Metadata": 7}', '10.0.0.7:80' => '{"weight": -1}', '10.0.0.8:80' => '',
    '10.0.0.9' => '{}', '10.0.0.10:99999' => '{}', '10.0.0.11:0' => '{}', ':80' => '{}',
    '::1:80' => '{}', '10.0.0.12:80/x' => '{}', 'a b:80' => '{}', '10.0.0.13:http' => '{}');
etcd_txn(map { ("web/$_" => $bad{$_}) } keys %bad);
all_show('the good of it', 'web', join ' ', map { "10.0.0.$_:80/" . ($_ == 4 ? 2 : 1) } 1 .. 8);
my $log = error_log();
for my $key (sort keys %bad) {
    my $count = () = $log =~ m{\[error\][^\n]*zedcup: $TEST_NGINX_TREE\Qweb/$key\E: }g;
    is($count, $key eq '10.0.0.8:80' ? 0 : 1, "lines about $key");
}
# nothing is said again of what was said already
etcd_put('web/10.0.0.20:80', '{}');
all_show('another one', 'web', qr{10.0.0.20:80/1});
is(scalar(() = error_log() =~ m{zedcup: $TEST_NGINX_TREE}g), scalar(() = $log =~ m{zedcup: $TEST_NGINX_TREE}g), 'no more lines');
--- error_log
the default stays



=== TEST 3: IPv6 and host names
--- script
etcd_txn('web/[::1]:80' => '{}', 'web/[2001:DB8:0::1]:81' => '{"weight":2}', 'web/Backend.Example:82' => '{}', 'web/localhost:83' => '{}');
all_show('all forms', 'web', 'Backend.Example:82/1 [2001:db8::1]:81/2 [::1]:80/1 localhost:83/1');



=== TEST 4: a thousand keys rewritten in one go, again and again
--- dict: 4m
--- script
my %first = map { ("web/10.2." . int($_ / 250) . '.' . $_ % 250 . ':80' => '{"weight":1}') } 1 .. 1000;
my %second = map { $_ => '{"weight":2}' } keys %first;
etcd_txn(%first);
my $count = sub { my $wanted = shift; my $seen = each_worker('/show?s=web') or return;
    return 4 == grep { scalar(() = m{:80/$wanted\b}g) == 1000 } values %$seen };
wait_for('there in all', 5, sub { $count->(1) });
for my $turn (1 .. 3) {
    etcd_txn(%second);
    wait_for('rewritten', 5, sub { $count->(2) });
    etcd_txn(%first);
    wait_for('and back', 5, sub { $count->(1) });
}
etcd_del('web/', '--prefix');
all_show('gone', 'web', qr/^no such service: web$/);



=== TEST 5: several syncers with paths and dictionaries of their own
--- http_config
lua_shared_dict other 1m;
--- init_worker
require("lreu.syncer").init({ storage = ngx.shared.other, etcd_port = $TEST_NGINX_CONSUL_PORT, path = "/other$TEST_NGINX_TREE" })
--- config
location = /both {
    content_by_lua_block {
        local storage, dicts = require("lreu.storage"), ngx.shared
        for _, dict in ipairs({ dicts.lreu, dicts.other }) do
            local words = {}
            for _, name in ipairs(storage.names(dict)) do
                words[#words + 1] = name .. "=" .. table.concat(storage.peer_names(dict)[name], ",")
            end
            ngx.print(table.concat(words, " "), "; ")
        end
    }
}
--- script
etcdctl('del', '--prefix', "/other$ENV{TEST_NGINX_TREE}");
etcd_put('web/10.0.0.1:80', '{}');
etcdctl('put', "/other$ENV{TEST_NGINX_TREE}web/10.0.0.2:80", '{}');
etcdctl('put', "/other$ENV{TEST_NGINX_TREE}api/10.0.0.3:80", '{}');
wait_for('each has its own', 5, sub { body_of('/both') eq 'web=10.0.0.1:80; api=10.0.0.3:80 web=10.0.0.2:80; ' })
    or diag(body_of('/both'));
# one ends, the other goes on
etcd_del('web/10.0.0.1:80');
etcdctl('put', "/other$ENV{TEST_NGINX_TREE}web/10.0.0.4:80", '{}');
wait_for('each follows its own', 5, sub { body_of('/both') eq '; api=10.0.0.3:80 web=10.0.0.2:80,10.0.0.4:80; ' })
    or diag(body_of('/both'));



=== TEST 6: bad options name the key
--- http_config
lua_shared_dict other 1m;
--- lua
local syncer = require("lreu.syncer")
local function try(options)
    local ok, ok2, err = pcall(syncer.init, options)
    ngx.say(ok and tostring(ok2) or "RAISED", " ", (tostring(ok and err or ok2):gsub("0x%x+", "0x")))
end
local other = ngx.shared.other
try(nil)
try("x")
try({})
try({ storage = "nope", etcd_path = "/a/" })
try({ storage = {}, etcd_path = "/a/" })
try({ storage = ngx.shared.lreu, etcd_path = "/a/" })
try({ storage = other })
try({ storage = other, etcd_path = 7 })
try({ storage = other, etcd_path = "" })
try({ storage = other, etcd_path = "/" })
try({ storage = other, etcd_path = "a//b" })
try({ storage = other, etcd_path = "/a b/" })
try({ storage = other, etcd_path = ("x"):rep(100000) })
try({ storage = other, etcd_path = "/a/", etcd_port = "abc" })
try({ storage = other, etcd_path = "/a/", etcd_port = 99999 })
try({ storage = other, etcd_path = "/a/", etcd_host = {} })
try({ storage = other, etcd_path = "/a/", etcd_endpoints = "x" })
try({ storage = other, etcd_path = "/a/", etcd_endpoints = {} })
try({ storage = other, etcd_path = "/a/", etcd_api = "v9" })
try({ storage = other, etcd_path = "/a/", etcd_user = "x" })
try({ storage = other, path = "/a/", etcd = {}, consul = {} })
try({ storage = other, path = "/a/", etcd = {}, etcd_port = 1 })
try({ storage = other, path = "/a/", consul = { port = -1 } })
try({ storage = other, path = "/a/", embedded = {} })
try({ storage = other, path = "/a/", embedded = { path = "x" } })
try({ storage = other, etcd_path = "/a/", etcd_port = print })
try({ storage = other, etcd_path = "/a/", etcd_port = 0 / 0 })
try({ storage = other, etcd_path = "/a/", [7] = print })
ngx.say(f.show({ syncer.state(other) }), f.show({ syncer.state("nope") }))
-- and none of that stands in the way
try({ storage = other, etcd_path = "/a/", etcd_port = $TEST_NGINX_CONSUL_PORT, colour = "red" })
f.wait(5, function() return syncer.state(other).trouble == nil end)
--- response_body eval
<<'END'
nil expected a table of options, got nil
nil expected a table of options, got x
nil storage: expected ngx.shared.<name>, got nil
nil storage: no lua_shared_dict nope
nil storage: expected ngx.shared.<name>, got table: 0x
nil storage: this dictionary has a syncer already
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_path: expected a path such as "/v1/services/", got the root
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_path: expected a path such as "/v1/services/"
nil etcd_port: expected 1..65535, got "abc"
nil etcd_port: expected 1..65535, got 99999
nil etcd_host: expected text, got {}
nil etcd_endpoints: expected a list of "host:port", got "x"
nil etcd_endpoints: expected a list of "host:port", got {}
nil etcd_api: expected "v2" or "v3", got "v9"
nil etcd_user: expected together with password
nil etcd, consul, embedded: only one store at a time
nil etcd_port: either this or the table etcd
nil consul.port: expected 1..65535, got -1
nil embedded.path: expected an absolute path
nil embedded.path: expected an absolute path
nil options: Cannot serialise function: type not supported
nil options: Cannot serialise number: must not be NaN or Inf
nil options: Cannot serialise function: type not supported
{"no syncer of this dictionary in this worker"}{"no syncer of this dictionary in this worker"}
true true
END
--- error_log
lreu: syncer.init: etcd_port: expected
zedcup: colour: unknown option



=== TEST 7: every worker is killed in turn: changes keep coming within a second
--- script
my $n = 0;
etcd_put('web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1');
# the one that reads comes first in each round
for my $turn (1 .. 3) {
    my $feeder = feeder_pid();
    for my $pid ($feeder, grep { $_ != $feeder } worker_pids()) {
        next if !kill 0 => $pid;
        kill KILL => $pid;
        my $began = Time::HiRes::time();
        etcd_put('web/10.0.0.1:80', '{"weight":' . ++$n . '}');
        my $seen = 0;
        my $end = $began + 4;
        until ($seen || Time::HiRes::time() > $end) {
            my ($status, $body) = get('/show?s=web');
            $seen = $status == 200 && $body =~ m{^\d+ 10.0.0.1:80/$n$}m;
        }
        my $took = Time::HiRes::time() - $began;
        cmp_ok($took, '<', 1.5, "change $n came");
        last if $turn < 3; # all of the four in the last round
        wait_for('again four', 5, sub { worker_pids() == 4 });
    }
    wait_for('again four', 5, sub { worker_pids() == 4 });
}
all_show('and all have it', 'web', "10.0.0.1:80/$n");
--- error_log
signal 9
--- no_error_log
[emerg]



=== TEST 8: reloads under way: nothing is lost, nothing twice
--- script
etcd_put('web/10.0.0.1:80', '{"weight":1}');
all_show('there', 'web', '10.0.0.1:80/1');
for my $n (2 .. 5) {
    kill HUP => master_pid();
    etcd_put('web/10.0.0.1:80', qq({"weight":$n}));
    wait_for('new workers', 10, sub { worker_pids() == 4 && error_log() =~ /gracefully/ });
    all_show("change $n", 'web', "10.0.0.1:80/$n");
}



=== TEST 9: etcd stops and starts: the last good stays, trouble is told, then all is well
--- config
location = /state {
    content_by_lua_block {
        local state = require("lreu.syncer").state()
        ngx.say(state.ready, " ", state.services, " ", state.trouble and "trouble" or "fine")
    }
}
--- script
etcd_put('web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1');
is(body_of('/state'), 'true 1 fine', 'fine');
ZedcupStore::etcd_stop();
wait_for('trouble is told', 5, sub { body_of('/state') eq 'true 1 trouble' });
all_show('the last good stays', 'web', '10.0.0.1:80/1');
# also after a reload, and where the reader dies
reload();
all_show('after a reload', 'web', '10.0.0.1:80/1');
kill KILL => feeder_pid();
wait_for('four again', 5, sub { worker_pids() == 4 });
all_show('after a death', 'web', '10.0.0.1:80/1');
is(body_of('/state'), 'true 1 trouble', 'still told');
ZedcupStore::etcd_start();
etcd_put('web/10.0.0.2:80', '{}');
all_show('followed again', 'web', '10.0.0.1:80/1 10.0.0.2:80/1', 8);
wait_for('fine', 5, sub { body_of('/state') eq 'true 1 fine' });
--- error_log
signal 9
--- no_error_log
[emerg]



=== TEST 10: a dictionary that is too small: the last good stays, the log says so, room helps
--- dict: 32k
--- config
location = /fill {
    content_by_lua_block {
        local dict, n = ngx.shared.lreu, 0
        while dict:safe_set("fill" .. n, ("x"):rep(100)) do n = n + 1 end
        ngx.say(n)
    }
}
location = /free {
    content_by_lua_block {
        for i = 0, 1000 do ngx.shared.lreu:delete("fill" .. i) end
    }
}
--- script
etcd_put('web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1');
body_of('/fill');
etcd_txn(map { ("web/10.0.0.$_:80" => '{"weight":2}') } 1 .. 30);
wait_for('the log says so', 5, sub { error_log() =~ /cannot take web\|peers \(\d+ bytes\): no memory; what was there stays/ });
all_show('the last good stays', 'web', '10.0.0.1:80/1');
body_of('/free');
etcd_put('web/10.0.0.31:80', '{}');
all_show('room helps', 'web', qr{10.0.0.30:80/2 10.0.0.31:80/1});
--- error_log
Give it more room



=== TEST 11: a service, and then all of it, is deleted, and comes back
--- script
etcd_txn('web/10.0.0.1:80' => '{}', 'api/10.0.0.2:80' => '{}');
all_show('web', 'web', '10.0.0.1:80/1');
all_show('api', 'api', '10.0.0.2:80/1');
etcd_del('web/10.0.0.1:80');
all_show('gone', 'web', 'no such service: web');
all_show('the other stays', 'api', '10.0.0.2:80/1');
etcd_del('', '--prefix');
all_show('all of it', 'api', 'no such service: api');
etcd_put('web/10.0.0.3:80', '{}');
all_show('back', 'web', '10.0.0.3:80/1');



=== TEST 12: slow_start: who joins begins low, also after a reload and the reader's death
--- config
location = /starts {
    content_by_lua_block {
        local words = {}
        for i, peer in ipairs(require("lreu.storage").peers(ngx.shared.lreu, "web") or {}) do
            words[i] = peer.start_at == 0 and "0" or "joined"
            if ngx.var.arg_exact then words[i] = ("%.3f"):format(peer.start_at) end
        end
        ngx.say(table.concat(words, " "))
    }
}
location = /tally {
    content_by_lua_block {
        local seen = require("lreu_fixture").tally(1000, function() return require("lreu.picker").rr("web") end)
        ngx.say(seen["2"])
    }
}
--- script
etcd_put('web/10.0.0.1:80', '{"slow_start":1000}');
all_show('there', 'web', '10.0.0.1:80/1');
etcd_put('web/10.0.0.2:80', '{"slow_start":1000}');
all_show('two', 'web', '10.0.0.1:80/1 10.0.0.2:80/1');
is((split ' ', body_of('/starts'))[1], 'joined', 'the second is new');
my $exact = body_of('/starts?exact=1');
my $share = body_of('/tally');
cmp_ok($share, '>', 20, 'a little');
cmp_ok($share, '<', 600, 'no more than the first');
reload();
all_show('reloaded', 'web', '10.0.0.1:80/1 10.0.0.2:80/1');
is(body_of('/starts?exact=1'), $exact, 'it does not begin anew');
kill KILL => feeder_pid();
etcd_put('web/10.0.0.3:80', '{"slow_start":1000}');
all_show('three', 'web', '10.0.0.1:80/1 10.0.0.2:80/1 10.0.0.3:80/1');
like(body_of('/starts?exact=1'), qr/^\Q$exact\E \d+\.\d+$/, 'nor now');
# down and up again is new
etcd_put('web/10.0.0.1:80', '{"slow_start":1000,"status":"down"}');
all_show('down', 'web', qr{10.0.0.1:80/1/down});
etcd_put('web/10.0.0.1:80', '{"slow_start":1000}');
all_show('up', 'web', qr{^10.0.0.1:80/1 10});
isnt((split ' ', body_of('/starts?exact=1'))[0], (split ' ', $exact)[0], 'begins now');
--- error_log
signal 9
--- no_error_log
[emerg]



=== TEST 13: zedcup and several syncers in one nginx
--- store: etcd
--- backends: 2
--- config
location = /zedcup {
    content_by_lua_block {
        local zedcup, f = require("zedcup"), require("zedcup_fixture")
        if ngx.var.arg_n then f.configure("web", f.hosts(tonumber(ngx.var.arg_n))) end
        local handler, err = zedcup.create_handler("web")
        ngx.say(handler and #handler:config().pools[1].hosts or err)
    }
}
--- script
etcd_put('web/10.0.0.1:80', '{}');
all_show('lreu', 'web', '10.0.0.1:80/1');
is(body_of('/zedcup?n=2'), 2, 'zedcup');
etcd_put('web/10.0.0.2:80', '{}');
all_show('lreu follows', 'web', '10.0.0.1:80/1 10.0.0.2:80/1');
reload();
is(body_of('/zedcup?n=1'), 1, 'zedcup after a reload');
etcd_del('web/10.0.0.2:80');
all_show('lreu after a reload', 'web', '10.0.0.1:80/1');



=== TEST 14: it starts before etcd does
--- etcd: later
--- script
ZedcupStore::etcd_stop();
reload();
all_show('nothing yet', 'web', qr/^no (services yet: the store was not read so far|such service: web)$/);
ZedcupStore::etcd_start();
etcd_put('web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1', 8);
--- error_log
etcd



=== TEST 15: peers that nobody sees, for want of a version, are told once more
--- config
location = /lose {
    content_by_lua_block { ngx.shared.lreu:delete("web|version") }
}
--- script
etcd_put('web/10.0.0.1:80', '{}');
all_show('there', 'web', '10.0.0.1:80/1');
body_of('/lose');
all_show('not seen', 'web', 'no such service: web');
reload();
all_show('there again', 'web', '10.0.0.1:80/1');
