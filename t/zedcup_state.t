# What zedcup keeps of its hosts in the store: counts, flags, who is down.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'consul';
run_tests();

__DATA__

=== TEST 1: connect errors are counted in the store and take the host down there
--- backends: 1
--- lua
f.configure("web", { { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, f.hosts(1)[1] })
local before = ngx.time()
for _ = 1, 6 do
    f.forget()
    f.ask(zedcup.create_handler("web"))
end
local up = f.wait(5, function()
    local key = f.entry("instances/web/pools/1/hosts/1/up")
    return key and key.value == "false" and key
end)
f.say(up.value, up.flags)
local count = f.entry("state/web/1/1/error_count")
f.say(count.value, count.flags >= before and count.flags <= ngx.time())
f.say(f.entry("instances/web/pools/1/hosts/2/up"), f.entry("state/web/1/2/error_count"))
f.wait(5, function()
    return zedcup.create_handler("web"):config().pools[1].hosts[1]._down_by_zedcup
end)
--- response_body
false 1
3 true
nil nil
--- error_log
is out of this node's rotation after 3 errors
