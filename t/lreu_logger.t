# lreu.logger: what upstreams answered, counted by all workers.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(2);
worker_connections(512);
master_on();

our $front = <<'END';
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
    location / { return 200 "ok"; }
    location = /404 { return 404; }
    location = /500 { return 500; }
    location = /slow { content_by_lua_block { ngx.sleep(tonumber(ngx.var.arg_s)) ngx.print("ok") } }
}
upstream web {
    server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
upstream failing {
    server 127.0.0.1:$TEST_NGINX_CLOSED_PORT max_fails=0;
    server 127.0.0.2:$TEST_NGINX_CLOSED_PORT max_fails=0;
    server 127.0.0.1:$TEST_NGINX_BACKEND_PORT backup;
}
log_by_lua_block { require("lreu.logger").calc() }
END

our $locations = <<'END';
    location /web/ { proxy_pass http://web/; }
    location /failing/ { proxy_pass http://failing/; }
    location /other/ { proxy_pass http://127.0.0.2:$TEST_NGINX_BACKEND_PORT/; }
    location = /none { return 200 "ok"; }
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $front);
    $block->set_value('config', ($block->config // '') . $locations);
    $block->set_value('init_worker', 'require("lreu.logger").init(ngx.shared.log)')
        if !defined $block->init_worker;
    my $lua = $block->lua;
    $block->set_value('lua', 'local logger = require("lreu.logger") ' . $lua) if defined $lua;
});

run_tests();

__DATA__

=== TEST 1: requests and answers by status, with times, over all workers
--- lua
for _ = 1, 20 do lreu.get("/web/") end
for _ = 1, 3 do lreu.get("/web/404", 404) end
for _ = 1, 2 do lreu.get("/web/500", 500) end
for _ = 1, 4 do lreu.get("/other/") end
local report = lreu.report("web", 25)
local one = report.statistics[1]
f.say(report.name, #report.statistics, one.peer, one.count, f.show(one.stat))
f.say(report.ts_end - report.ts_start, one.rtsum >= 0, one.rtsum < 2, one.p50 <= one.p95, one.p95 <= one.p99)
f.say(#logger.report("nobody").statistics)
f.say(logger.report("127.0.0.2").statistics[1].count)
local tps = logger.tps(10)
f.say(tps >= 2.9 and tps <= 3.1 or tps)
--- response_body
web 1 127.0.0.1:PORT1 25 {{code=200,count=20},{code=404,count=3},{code=500,count=2}}
60 true true true true
0
4
true
--- no_error_log
[alert]



=== TEST 2: each try of a request counts for its peer, the request once
--- lua
for _ = 1, 10 do lreu.get("/failing/") end
local report = lreu.report("failing", 30)
for _, one in ipairs(report.statistics) do
    f.say((one.peer:gsub(":$TEST_NGINX_CLOSED_PORT", ":CLOSED")), f.show(one.stat))
end
local tps = logger.tps(10)
f.say(tps >= 0.9 and tps <= 1.1 or tps)
f.say(#logger.report("failing", "127.0.0.1:$TEST_NGINX_CLOSED_PORT").statistics, #logger.report("failing", "10.0.0.1:1").statistics)
--- response_body
127.0.0.1:PORT1 {{code=200,count=10}}
127.0.0.1:CLOSED {{code=502,count=10}}
127.0.0.2:CLOSED {{code=502,count=10}}
true
1 0
--- error_log
Connection refused
--- no_error_log
[alert]



=== TEST 3: percentiles are at most a quarter too long
--- lua
local threads = {}
for i = 1, 100 do
    threads[i] = ngx.thread.spawn(lreu.get, "/web/slow?s=" .. (i <= 90 and 0.02 or i <= 97 and 0.2 or 0.8))
end
for i = 1, 100 do ngx.thread.wait(threads[i]) end
local one = lreu.report("web", 100).statistics[1]
f.say(one.p50 >= 0.02 and one.p50 < 0.06 or one.p50, one.p95 >= 0.2 and one.p95 < 0.3 or one.p95, one.p99 >= 0.8 and one.p99 < 1.1 or one.p99)
f.say(one.rtsum > 5.5 and one.rtsum < 8 or one.rtsum)
--- response_body
true true true
true



=== TEST 4: a service's peers are found by the syncer's dictionary, whatever the block is called
--- init_worker
require("lreu.logger").init(ngx.shared.log, 60, ngx.shared.lreu)
--- lua
lreu.write("shop", { { host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT } })
for _ = 1, 5 do lreu.get("/web/") end
for _ = 1, 5 do lreu.get("/other/") end
local report = lreu.report("shop", 5)
f.say(#report.statistics, report.statistics[1].peer, report.statistics[1].count)
--- response_body
1 127.0.0.1:PORT1 5



=== TEST 5: requests without an upstream, and calls without init, do nothing
--- http_config
init_worker_by_lua_block { }
--- lua
for _ = 1, 5 do lreu.get("/none") end
f.say(logger.enable)
logger.calc()
f.say(logger.report("web"))
f.say(logger.tps())
f.say(logger.init("log"), logger.enable, logger.max_keep_time)
for _ = 1, 20 do lreu.get("/none") end
ngx.timer.at(0, function() logger.calc() end)
-- until one was served by this worker, the only one that counts here
local url = "http://127.0.0.1:" .. ngx.var.server_port .. "/web/"
f.wait(8, function()
    require("zedcup.http").new():request_uri(url, { keepalive = false })
    return logger.tps(5) > 0
end)
f.say(#logger.report("web").statistics)
--- response_body
false
nil call logger.init() first
nil call logger.init() first
true true 600
1



=== TEST 6: seconds go back so far and no further than max_keep_time
--- init_worker
require("lreu.logger").init(ngx.shared.log, 2)
--- lua
for _ = 1, 6 do lreu.get("/web/") end
lreu.report("web", 6)
local report = logger.report("web", nil, 100)
f.say(report.ts_end - report.ts_start)
report = logger.report("web", nil, 1)
f.say(report.ts_end - report.ts_start)
f.wait(6, function() return #logger.report("web", nil, 100).statistics == 0 end)
f.say(logger.tps(100))
-- and the dictionary keeps nothing
f.wait(6, function() ngx.shared.log:flush_expired() return #ngx.shared.log:get_keys(0) == 0 end)
--- response_body
2
1
0
--- timeout: 20



=== TEST 7: bad arguments give nil and a text, never more
--- lua
local function try(call, ...)
    local ok, value, err = pcall(call, ...)
    f.say(ok and (value == nil and tostring(err):gsub("0x%x+", "0x") or "took it") or "RAISED " .. value)
end
try(logger.init, nil)
try(logger.init, "nope")
try(logger.init, ngx.shared.log, 0)
try(logger.init, ngx.shared.log, "x")
try(logger.init, ngx.shared.log, 0 / 0)
try(logger.init, ngx.shared.log, 1e9)
try(logger.init, ngx.shared.log, {})
try(logger.init, ngx.shared.log, 60, "nope")
try(logger.init, ngx.shared.log, 60, 7)
for _, bad in ipairs({ false, 7, {}, print }) do
    try(logger.report, bad)
    try(logger.report, "web", bad)
    if bad ~= 7 then
        try(logger.report, "web", nil, bad)
        try(logger.tps, bad)
    end
end
try(logger.report)
try(logger.report, "web", nil, 0)
try(logger.report, "web", nil, -1)
try(logger.report, "web", nil, 0 / 0)
try(logger.tps, "x")
f.say(logger.report("a\0|b", "x", math.huge).name == "a\0|b", logger.tps("2"), logger.max_keep_time)
--- response_body_like eval
qr/^dict: expected ngx.shared.<name>, got nil(?: \d)?
dict: no lua_shared_dict nope(?: \d)?
max_keep_time: expected 1..86400 seconds, got 0(?: \d)?
max_keep_time: expected 1..86400 seconds, got x(?: \d)?
max_keep_time: expected 1..86400 seconds, got -?nan(?: \d)?
max_keep_time: expected 1..86400 seconds, got 1000000000(?: \d)?
max_keep_time: expected 1..86400 seconds, got table: 0x(?: \d)?
upstream_dict: no lua_shared_dict nope(?: \d)?
upstream_dict: expected ngx.shared.<name>, got 7(?: \d)?
(?:(?:service|peer|seconds): expected .*\n)+true 0 600$/
--- error_log
lreu: logger.init: max_keep_time
--- no_error_log
[alert]



=== TEST 8: a small dictionary drops the oldest, and memory stays bounded
--- http_config
lua_shared_dict log 16k;
--- lua
local dict = ngx.shared.log
for i = 1, 2000 do dict:set("log:" .. i .. ":1", ("x"):rep(100)) end
for _ = 1, 5 do lreu.get("/web/") end
f.say(lreu.report("web", 5).statistics[1].count)
-- damaged content counts for nothing
local now = ngx.time() - 1
dict:set("log:" .. now, 1e15)
dict:set("log:" .. now .. ":7", "nonsense")
dict:set("log:" .. now .. ":8", '{"peers":7}')
dict:set("log:" .. now .. ":9", '[]')
dict:set("log:" .. now .. ":10", true)
dict:set("log:" .. now - 1, "x")
f.say(type(logger.report("web")), type(logger.tps(1)))
--- response_body
5
table number



=== TEST 9: a worker that ends still writes what it counted
--- script
body_of('/web/') for 1 .. 6;
reload();
wait_for('all are there', 5, sub { body_of('/count') eq '6' });
--- config
location = /count {
    content_by_lua_block {
        local one = require("lreu.logger").report("web").statistics[1]
        ngx.say(one and one.count or 0)
    }
}
