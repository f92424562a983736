# Sessions, locks and health checks on etcd.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'etcd';
run_tests();

__DATA__

=== TEST 1: etcd has sessions and locks too
--- backends: 1
--- lua
assert(zedcup.configure_instance("web", { healthcheck = { interval = 1 }, pools = { { hosts = f.hosts(1) } } }))
f.wait(10, function() return f.stored()["state/web/1/1/last_check"] end)
local stored, nodes = f.stored(true), 0
for key in pairs(stored) do
    nodes = nodes + (key:find("^registry/") and 1 or 0)
end
f.say(nodes, stored["locks/healthcheck"] == stored["locks/revive"], stored["locks/revive"] ~= nil)
--- response_body
1 true true
