# lreu.judger: peers that do worse than the others lose weight, and get it back.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(2);
worker_connections(1024);
master_on();

# Backends 127.0.0.1, … on BACKEND_PORT: 10 ms, or as `ctl` says, and so many
# percent errors.
our $front = <<'END';
lua_shared_dict ctl 1m;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.4:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.5:$TEST_NGINX_BACKEND_PORT;
    location / {
        content_by_lua_block {
            local ctl, me = ngx.shared.ctl, ngx.var.server_addr
            ngx.sleep(ctl:get("delay " .. me) or 0.01)
            if math.random() * 100 < (ctl:get("errors " .. me) or 0) then ngx.status = 500 end
            ngx.print(me)
        }
    }
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
    location = /explain {
        content_by_lua_block {
            local found, err = require("lreu.judger").explain("web")
            if not found then return ngx.say(err) end
            local words = {}
            for i, one in ipairs(found.peers) do
                words[i] = one.peer:match("%d+:"):gsub(":", "") .. "=" .. one.verdict .. "/" .. one.cut .. "/" .. type(one.reason)
            end
            ngx.say(found.service, " ", table.concat(words, " "))
        }
    }
END

our $judger = 'require("lreu.logger").init(ngx.shared.log, 60, ngx.shared.lreu)
require("lreu.judger").init({ storage = ngx.shared.lreu })';

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $front);
    $block->set_value('config', ($block->config // '') . $locations);
    $block->set_value('init_worker', $judger) if !defined $block->init_worker;
    my $lua = $block->lua;
    $block->set_value('lua', <<'END' . $lua) if defined $lua;
local judger, ctl, port = require("lreu.judger"), ngx.shared.ctl, $TEST_NGINX_BACKEND_PORT
local function peers(n)
    local list = {}
    for i = 1, n do list[i] = { host = "127.0.0." .. i, port = port } end
    lreu.write("web", list)
end
local function cut(i) return dict:get("judged:web:127.0.0." .. i .. ":" .. port) or 0 end
END
});

run_tests();

__DATA__

=== TEST 1: of five, one fails 30 % and one is five times slower: both cut within 5 s, back within 10
--- lua
peers(5)
local stop = lreu.background(8, "/up")
f.wait(5, function() local seen = judger.explain("web") return seen and seen.peers[5].verdict == "good" end)
ctl:set("errors 127.0.0.2", 30)
ctl:set("delay 127.0.0.4", 0.05)
f.wait(5, function() return cut(2) > 0 and cut(4) > 0 end)
f.say("cut", cut(1), cut(3), cut(5))
local why = {}
for _, one in ipairs(judger.explain("web").peers) do why[one.peer:match("%.(%d+):")] = one end
f.say(why["2"].verdict, why["2"].reason:match("%% of %d+ tries failed, %d+ %% is usual") ~= nil)
f.say(why["4"].verdict, why["4"].reason:match("answers take %d+ ms, %d+ ms is usual") ~= nil)
f.say(lreu.summary("web"):match("127.0.0.2:%d+/1/cut=") ~= nil)
ngx.sleep(3)
local began = ngx.now()
ctl:delete("errors 127.0.0.2")
ctl:delete("delay 127.0.0.4")
f.wait(10, function() return cut(2) == 0 and cut(4) == 0 end)
f.say("back", cut(1), cut(3), cut(5))
stop()
--- response_body
cut 0 0 0
bad true
bad true
true
back 0 0 0
--- error_log
127.0.0.2
--- no_error_log
[error]
--- timeout: 40



=== TEST 2: all five failing alike, or all slow alike: none is cut
--- lua
peers(5)
for i = 1, 5 do ctl:set("errors 127.0.0." .. i, 50) end
local stop = lreu.background(8, "/up")
ngx.sleep(4)
f.say(cut(1), cut(2), cut(3), cut(4), cut(5))
for i = 1, 5 do ctl:set("errors 127.0.0." .. i, 100) ctl:set("delay 127.0.0." .. i, 0.05) end
ngx.sleep(4)
f.say(cut(1), cut(2), cut(3), cut(4), cut(5))
f.say(judger.explain("web").out)
stop()
--- response_body
0 0 0 0 0
0 0 0 0 0
0
--- timeout: 25



=== TEST 3: who answers nothing is out, but not more than a share, and never the last
--- lua
local closed = $TEST_NGINX_CLOSED_PORT
lreu.write("web", { { host = "127.0.0.1", port = port }, { host = "127.0.0.2", port = port }, { host = "127.0.0.3", port = port },
                    { host = "127.0.0.4", port = closed }, { host = "127.0.0.5", port = closed } })
local function dead(i) return dict:get("judged:web:127.0.0." .. i .. ":" .. closed) or 0 end
local stop = lreu.background(8, "/up")
f.wait(6, function() return dead(4) == 100 and dead(5) == 90 or dead(4) == 90 and dead(5) == 100 end)
local seen = judger.explain("web")
f.say(seen.out, seen.max_out, seen.peers[4].cut + seen.peers[5].cut)
-- two peers, one dead
lreu.write("web", { { host = "127.0.0.1", port = port }, { host = "127.0.0.4", port = closed } })
f.wait(6, function() return dead(4) == 100 end)
f.say(cut(1), lreu.get("/up"))
-- one peer, dead: it stays
lreu.write("web", { { host = "127.0.0.5", port = closed } })
f.wait(8, function() return judger.explain("web").max_out == 0 and dead(5) < 100 end)
f.say(picker.rr("web") ~= nil, judger.explain("web").peers[1].reason)
stop()
--- response_body
1 1 190
0 127.0.0.1
true nobody to compare with
--- error_log
Connection refused
--- no_error_log
[alert]
--- timeout: 30



=== TEST 4: explain tells in any worker, also where nothing is known
--- script
my $body = body_of('/explain');
like($body, qr/^nothing was judged yet of service web$/, 'before');
HTTP::Tiny->new->get("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/write");
wait_for('all workers tell', 6, sub {
    my %seen;
    for (1 .. 20) { my $text = body_of('/explain'); $seen{$text}++ }
    return keys %seen == 1 && (keys %seen)[0] eq 'web 1=unknown/0/string';
});
--- config
location = /write {
    content_by_lua_block {
        require("lreu_fixture").write("web", { { host = "127.0.0.1", port = 80 } })
    }
}



=== TEST 5: bad options name the key
--- init_worker
--- lua
local function try(options)
    local ok, ok2, err = pcall(judger.init, options)
    ngx.say(ok and tostring(ok2) or "RAISED", " ", (tostring(ok and err or ok2):gsub("0x%x+", "0x")))
end
f.say(judger.explain("web"))
local lreu = ngx.shared.lreu
try(nil)
try({})
try({ storage = "nope" })
try({ storage = lreu })
require("lreu.logger").init(ngx.shared.log, 60, lreu)
try({ storage = lreu, interval = 0 })
try({ storage = lreu, window = "x" })
try({ storage = lreu, max_ejection_percent = 101 })
try({ storage = lreu, latency_factor = 0 / 0 })
try({ storage = lreu, min_requests = {} })
try({ storage = lreu, [7] = 1 })
try({ storage = lreu, colour = "red" })
try({ storage = lreu, interval = 1 })
try({ storage = lreu })
f.say(judger.explain(nil))
f.say(judger.explain({}) == nil, judger.explain("a\0|b"))
--- response_body_like chomp
^nil call judger.init\(\) first
nil expected a table of options, got nil
nil storage: expected ngx.shared.<name>, got nil
nil storage: no lua_shared_dict nope
nil call logger.init\(\) first
nil interval: expected 0.1..60, got 0
nil window: expected 1..600, got x
nil max_ejection_percent: expected 0..100, got 101
nil latency_factor: expected 1..1000, got -?nan
nil min_requests: expected 1..1000000, got table: 0x
nil 7: unknown option
nil colour: unknown option
true true
nil the judger runs already
nil nothing was judged yet of service nil
true nil nothing was judged yet of service a.*b
--- error_log
lreu: judger.init: 
--- no_error_log
[alert]



=== TEST 6: damaged content and odd peers do not stop it
--- lua
lreu.write("bad", "nonsense")
lreu.write("odd", '[7, {"host":"127.0.0.1"}, {"host":"127.0.0.1","port":' .. port .. '}]')
peers(2)
ctl:set("errors 127.0.0.2", 60)
local stop = lreu.background(4, "/up")
f.wait(8, function() return cut(2) > 0 end)
f.say("cut")
stop()
--- response_body
cut
--- timeout: 20
