# lreu.picker in balancer_by_lua, with several workers and real backends.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(4);
worker_connections(1024);
master_on();

# Backends are 127.0.0.1, 127.0.0.2, … on BACKEND_PORT, in this nginx too; `ctl` in
# their dictionary says how slow each is. The one on BACKEND_PORT2 is in
# processes of its own, see start_backend().
our $front = <<'END';
lua_shared_dict ctl 1m;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
    keepalive_requests 100000;
    location / {
        content_by_lua_block {
            local ctl, me = ngx.shared.ctl, ngx.var.server_addr
            local delay = ctl:get("delay " .. me)
            if delay then ngx.sleep(delay) end
            ngx.print(me)
        }
    }
}
upstream lreu {
    server 0.0.0.1;
    balancer_by_lua_block {
        local balancer, picker = require("ngx.balancer"), require("lreu.picker")
        local ctx = ngx.ctx
        if not ctx.tried then
            ctx.tried = {}
            balancer.set_more_tries(3)
        end
        local peer, err = picker.pick("web", { method = ngx.var.arg_method, key = ngx.var.arg_key, ban = ctx.tried })
        if not peer then
            ngx.log(ngx.ERR, err)
            return ngx.exit(500)
        end
        ctx.tried[#ctx.tried + 1] = peer
        local ok
        ok, err = balancer.set_current_peer(peer.host, peer.port)
        if not ok then
            ngx.log(ngx.ERR, err)
            return ngx.exit(500)
        end
    }
    keepalive 32;
}
END

our $locations = <<'END';
    location /up {
        proxy_pass http://lreu;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream error timeout;
        proxy_connect_timeout 1s;
    }
    location = /cut {
        content_by_lua_block {
            local picker = require("lreu.picker")
            local call = ngx.var.arg_call
            if call == "cutdown" then
                ngx.say(picker.cutdown("web", ngx.var.arg_peer, ngx.var.arg_percent))
            elseif call == "recover" then
                ngx.say(picker.recover("web", ngx.var.arg_peer))
            else
                ngx.say(picker.setBlackHole("web", ngx.var.arg_percent))
            end
        }
    }
    location = /write {
        content_by_lua_block {
            ngx.req.read_body()
            require("lreu_fixture").write("web", ngx.req.get_body_data())
        }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $front);
    $block->set_value('config', ($block->config // '') . $locations);
});

# So many backends, each a process on 127.0.0.N:BACKEND_PORT2; their pids.
sub start_backends {
    return map { ZedcupStore::spawn_server(undef, "127.0.0.$_", $ENV{TEST_NGINX_BACKEND_PORT2}) } 1 .. shift;
}

run_tests();

__DATA__

=== TEST 1: requests go by weight, over connections that are kept
--- lua
local p = $TEST_NGINX_BACKEND_PORT
lreu.write("web", { { host = "127.0.0.1", port = p, weight = 3 }, { host = "127.0.0.2", port = p } })
local seen = lreu.tally(40, function() return { host = lreu.get("/up") } end)
-- four workers share the requests, each with a turn of its own
f.say(seen["1"] + seen["2"], seen["1"] >= 26 and seen["1"] <= 34 or seen["1"])
--- response_body
40 true



=== TEST 2: least_conn goes where fewer requests are under way, also among peers that join
--- lua
local p, ctl = $TEST_NGINX_BACKEND_PORT, ngx.shared.ctl
lreu.write("web", { { host = "127.0.0.1", port = p } })
f.say(lreu.get("/up?method=least_conn"))
lreu.write("web", { { host = "127.0.0.1", port = p }, { host = "127.0.0.2", port = p } })
ctl:set("delay 127.0.0.2", 0.4)
local seen = lreu.load(8, 1.5, "/up?method=least_conn")
f.say(seen["127.0.0.1"] > 10 * seen["127.0.0.2"] or f.show(seen))
f.say(seen.failed)
--- response_body
127.0.0.1
true
nil



=== TEST 3: ewma leaves a slow peer alone
--- lua
local p, ctl = $TEST_NGINX_BACKEND_PORT, ngx.shared.ctl
lreu.write("web", { { host = "127.0.0.1", port = p }, { host = "127.0.0.2", port = p }, { host = "127.0.0.3", port = p } })
ctl:set("delay 127.0.0.1", 0.005)
ctl:set("delay 127.0.0.2", 0.1)
ctl:set("delay 127.0.0.3", 0.005)
lreu.load(4, 0.5, "/up?method=ewma")
local seen = lreu.load(4, 1, "/up?method=ewma")
local all = seen["127.0.0.1"] + seen["127.0.0.3"] + (seen["127.0.0.2"] or 0)
f.say((seen["127.0.0.2"] or 0) < all / 20 or f.show(seen), seen["127.0.0.1"] > all / 4, seen["127.0.0.3"] > all / 4)
--- response_body
true true true



=== TEST 4: what one worker sets holds in all workers
--- script
my $body = '[{"host":"127.0.0.1","port":80},{"host":"127.0.0.2","port":80}]';
HTTP::Tiny->new->post("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write", { content => $body });
all_show('all have them', 'web', '127.0.0.1:80/1 127.0.0.2:80/1');
is(body_of('/cut?call=cutdown&peer=127.0.0.1:80&percent=100'), 'true', 'cut');
all_show('all have it cut', 'web', '127.0.0.1:80/1/cut=100 127.0.0.2:80/1');
my $seen = each_worker('/pick?s=web');
is(join(' ', sort values %$seen), join(' ', ('127.0.0.2:80') x 4), 'nobody picks it');
is(body_of('/cut?call=recover&peer=127.0.0.1:80'), 'true', 'recovered');
all_show('in all', 'web', '127.0.0.1:80/1 127.0.0.2:80/1');
is(body_of('/cut?call=hole&percent=100'), 'true', 'black hole');
$seen = each_worker('/pick?s=web');
is(join(' ', sort values %$seen), join(' ', ('black hole') x 4), 'in all');
is(body_of('/cut?call=hole&percent=0'), 'true', 'over');
$seen = each_worker('/pick?s=web');
unlike(join(' ', sort values %$seen), qr/black/, 'in all');



=== TEST 5: each worker begins its round at another peer
--- script
my $body = '[' . join(',', map { qq({"host":"10.0.0.$_","port":80}) } 1 .. 4) . ']';
HTTP::Tiny->new->post("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write", { content => $body });
my (%first, $end);
$end = Time::HiRes::time() + 5;
while (keys %first < 4 && Time::HiRes::time() < $end) {
    my $answer = HTTP::Tiny->new(keep_alive => 0)->get("http://127.0.0.1:$TEST_NGINX_EXTRA_PORT/pick?s=web");
    $first{$1} //= $2 if $answer->{content} =~ /^(\d+) (\S+)/;
}
is(join(' ', sort values %first), join(' ', map { "10.0.0.$_:80" } 1 .. 4), 'all different');



=== TEST 6: a backend is killed under load: no request fails
--- script
my @pids = start_backends(3);
my $port = $ENV{TEST_NGINX_BACKEND_PORT2};
my $body = '[' . join(',', map { qq({"host":"127.0.0.$_","port":$port}) } 1 .. 3) . ']';
HTTP::Tiny->new->post("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write", { content => $body });
my $load = start_load(4, '/up');
wait_for('there is load', 5, sub { load_count() > 200 });
stop_server($pids[1]);
my $before = load_count();
wait_for('it goes on', 5, sub { load_count() > $before + 500 });
my ($good, $bad) = stop_load($load);
cmp_ok($good, '>', 700, 'requests');
is($bad, 0, 'none failed');
stop_server($_) for @pids;
--- error_log
Connection refused
--- no_error_log
[alert]



=== TEST 7: reload under load: no request fails, rising peers go on rising
--- script
my $port = $ENV{TEST_NGINX_BACKEND_PORT};
my $start = Time::HiRes::time() - 900;
my $body = qq([{"host":"127.0.0.1","port":$port},{"host":"127.0.0.2","port":$port,"slow_start":1000,"start_at":$start}]);
HTTP::Tiny->new->post("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write", { content => $body });
my $load = start_load(4, '/up');
wait_for('there is load', 5, sub { load_count() > 100 });
reload() for 1 .. 3;
my $before = load_count();
wait_for('it goes on', 5, sub { load_count() > $before + 100 });
my ($good, $bad) = stop_load($load);
is($bad, 0, 'none failed');
my %seen;
for (1 .. 200) { $seen{body_of('/up')}++ }
cmp_ok($seen{'127.0.0.2'} // 0, '>', 60, 'nearly risen');
--- no_error_log
[alert]



=== TEST 8: nobody answers: 502, and each peer is tried once
--- script
my $port = $ENV{TEST_NGINX_CLOSED_PORT};
my $body = '[' . join(',', map { qq({"host":"127.0.0.$_","port":$port}) } 1 .. 3) . ']';
HTTP::Tiny->new->post("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write", { content => $body });
my ($status) = get('/up');
is($status, 502, 'bad gateway');
my %tried;
my $log = error_log();
$tried{$1}++ while $log =~ /Connection refused.*?upstream: "http:\/\/(127.0.0.\d)/g;
cmp_ok(scalar keys %tried, '==', 3, 'all were tried');
--- error_log
Connection refused
--- no_error_log
[alert]
