# Following Consul: keys edited by hand, garbage in the store, a Consul that is
# away, comes late or comes back.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

# Keys put one by one make an instance that is not usable yet; such blocks check
# the error log for [alert] only.
$ZedcupStore::default_store = 'consul';
run_tests();

__DATA__

=== TEST 1: keys put by hand make an instance, and hosts come and go
--- backends: 3
--- lua
local p = f.hosts(3)
f.put_host("instances/web/pools/1/hosts/1", p[1].port)
f.wait_hosts("web", 1)
f.say(f.tally("web", 3))
f.put_host("instances/web/pools/1/hosts/2", p[2].port)
f.wait_hosts("web", 2)
f.say(f.tally("web", 10))
f.put("instances/web/pools/1/hosts/2/weight", 4)
f.wait(5, function() return zedcup.create_handler("web"):config().pools[1].hosts[2].weight == 4 end)
f.say(f.tally("web", 10))
f.put("instances/web/pools/1/hosts/2/port", p[3].port)
f.wait(5, function() return zedcup.create_handler("web"):config().pools[1].hosts[2].port == p[3].port end)
f.say(f.tally("web", 10))
f.put("instances/web/pools/1/hosts/2/up", "false")
f.wait(5, function() return not zedcup.create_handler("web"):config().pools[1].hosts[2].up end)
f.say(f.tally("web", 10))
f.delete("instances/web/pools/1/hosts/2/up")
f.wait(5, function() return zedcup.create_handler("web"):config().pools[1].hosts[2].up end)
f.delete("instances/web/pools/1/hosts/1/", true)
local config = f.wait_hosts("web", 1)
f.say(config.pools[1].hosts[1]._idx, config.pools[1].hosts[1].name)
f.say(f.tally("web", 3))
--- response_body
b1=3 true
b1=5 b2=5 false
b1=2 b2=8 true
b1=2 b3=8 true
b1=10 true
2 2
b3=3 true
--- no_error_log
[alert]



=== TEST 2: indexes stay through gaps, and pools keep their order
--- backends: 3
--- lua
local p = f.hosts(3)
f.put_host("instances/web/pools/10/hosts/1", p[1].port)
f.put_host("instances/web/pools/9/hosts/12", p[2].port)
f.put_host("instances/web/pools/9/hosts/3", p[3].port)
local config = f.wait_hosts("web", 3)
for _, pool in ipairs(config.pools) do
    for _, host in ipairs(pool.hosts) do
        f.say(pool._idx, pool.name, host._idx, host.name, host.port)
    end
end
f.say(f.tally("web", 4))
f.delete("instances/web/pools/9/", true)
f.wait_hosts("web", 1)
f.say(f.tally("web", 4))
--- response_body
9 9 3 3 PORT3
9 9 12 12 PORT2
10 10 1 1 PORT1
b2=2 b3=2 false
b1=4 true
--- no_error_log
[alert]



=== TEST 3: a bad key drops its host only, and is named in full
--- backends: 1
--- lua
local port = f.hosts(1)[1].port
local function host(i, key, value)
    f.put("instances/web/pools/1/hosts/" .. i .. "/" .. key, value)
    if key ~= "host" then f.put("instances/web/pools/1/hosts/" .. i .. "/host", "10.0.0." .. i) end
    if key ~= "port" then f.put("instances/web/pools/1/hosts/" .. i .. "/port", 80) end
end
host(2, "port", 99999)
host(3, "weight", -1)
host(4, "host", "10.0.0.256")
host(5, "host", "a b")
host(6, "port", "http")
host(7, "up", "yes")
host(8, "weight", "")
host(9, "host", "\255\254")
host(10, "port", "80\0")
f.put("instances/web/pools/1/hosts/eleven/host", "10.0.0.11")
f.put("instances/web/pools/1/hosts/0/host", "10.0.0.12")
f.put("instances/web/pools/1/hosts/13", "10.0.0.13:80")
f.put("instances/web/pools/1/hosts/14/host", "10.0.0.14")
f.put("instances/web/pools/1/method", "fastest")
f.put("instances/web/pools/1/timeout", "soon")
f.put("instances/web/pools/1/colour", "blue")
f.put("instances/web/pools/second/name", "x")
f.put("instances/tls/ssl", "perhaps")
f.put_host("instances/tls/pools/1/hosts/1", port)
f.put_host("instances/web/pools/1/hosts/1", port)
local config = f.wait(5, function()
    local handler = zedcup.create_handler("web")
    local now = handler and handler:config()
    return now and now.pools[1] and now.pools[1].hosts[1] and now.pools[1].hosts[1]._idx == 1 and now
end)
for _, h in ipairs(config.pools[1].hosts) do f.say(h._idx, h.host) end
f.say(#config.pools, config.pools[1].timeout, config.pools[1].method, config.pools[1].colour, config.ssl)
f.say(f.tally("web", 3))
-- never plain text where somebody meant TLS
f.say("ssl_verify ", f.wait_hosts("tls", 1).ssl.ssl_verify)
--- response_body
1 127.0.0.1
1 2000 weighted_rr blue false
b1=3 true
ssl_verify  true
--- error_log eval
my $p = "/instances/web";
["t3$p/pools/1/hosts/2/port: expected 1..65535, got \"99999\"",
 "t3$p/pools/1/hosts/3/weight: expected 1..65535, got \"-1\"",
 "t3$p/pools/1/hosts/4/host: expected an IP address, a host name or unix:/path, got \"10.0.0.256\"",
 "t3$p/pools/1/hosts/5/host: expected an IP address, a host name or unix:/path, got \"a b\"",
 "t3$p/pools/1/hosts/6/port: expected 1..65535, got \"http\"",
 "t3$p/pools/1/hosts/7/up: expected true or false, got \"yes\"",
 "t3$p/pools/1/hosts/8/weight: expected 1..65535, got \"\"",
 "t3$p/pools/1/hosts/9/host: expected",
 "t3$p/pools/1/hosts/10/port: expected 1..65535, got",
 "t3$p/pools/1/hosts/eleven: expected a number from 1 as the index",
 "t3$p/pools/1/hosts/0: expected a number from 1 as the index",
 "t3$p/pools/1/hosts/13: expected a table, got \"10.0.0.13:80\"",
 "t3$p/pools/1/hosts/14/port: required",
 "t3$p/pools/1/method: expected weighted_rr, got \"fastest\"",
 "t3$p/pools/1/timeout: expected 1..86400000, got \"soon\"",
 "t3$p/pools/1/colour: unknown key",
 "t3$p/pools/second: expected a number from 1 as the index",
 "t3/instances/tls/ssl: expected true, false or a table, got \"perhaps\""]



=== TEST 4: values where tables belong, and tables where values belong
--- backends: 1
--- lua
local port = f.hosts(1)[1].port
f.put("instances/a/pools", "x")
f.put("instances/b/pools/1", "x")
f.put("instances/c/pools/1/hosts", "x")
f.put("instances/d/pools/1/hosts/1", "x")
f.put_host("instances/d/pools/1/hosts/2", port)
f.put("instances/e/pools/1/hosts/1/port/http", 80)
f.put("instances/e/pools/1/hosts/1/host", "10.0.0.1")
f.put_host("instances/e/pools/1/hosts/2", port)
f.put("instances/e/pools", "beside")
f.put("instances/e/pools/1/", "")
f.put("instances/e/pools/1/timeout/ms", 5)
f.put("instances/e/pools/1/status_codes", "500")
f.put("instances/f", "stray")
f.put("instances/g/", "")
f.put("instances/h/pools/1/hosts/1/host/", "10.0.0.1")
f.put_host("instances/z/pools/1/hosts/1", port)
f.wait_hosts("z", 1)
f.say(f.show(zedcup.instance_list()))
f.say(f.tally("d", 2))
f.say(f.tally("e", 2))
f.say(zedcup.create_handler("e"):config().pools[1].timeout)
f.say(f.tally("z", 2))
--- response_body_like
^\{(?:"\w",)+.*
b1=2 true
b1=2 true
2000
b1=2 true$
--- error_log
/instances/a/pools: expected a table, got "x"
/instances/a/: nothing usable in it
/instances/b/pools/1: expected a table, got "x"
/instances/c/pools/1/hosts: expected a table, got "x"
/instances/d/pools/1/hosts/1: expected a table, got "x"
/instances/e/pools/1/hosts/1/port: expected a value, got a table
/instances/e/pools: expected a table, got "beside"
/instances/e/pools/1/timeout: expected a value, got a table
/instances/e/pools/1/status_codes: expected a list or false, got "500"



=== TEST 5: values near Consul's limit, and bytes that are not UTF-8
--- backends: 1
--- lua
local port = f.hosts(1)[1].port
f.put("instances/web/note", ("n"):rep(512 * 1024))
f.put("instances/web/pools/1/hosts/1/note", ("\200"):rep(100 * 1024))
f.put("instances/web/pools/1/hosts/1/name", "caf\233")
f.put("instances/web/pools/1/name", "\0\1\2")
f.put("instances/web/pools/1/caf%E9", "x")
f.put_host("instances/web/pools/1/hosts/1", port)
f.put("instances/web/pools/1/hosts/2/port", ("9"):rep(512 * 1024))
f.put("instances/web/pools/1/hosts/2/host", ("h"):rep(512 * 1024))
f.put_host("instances/z/pools/1/hosts/1", port)
f.wait_hosts("z", 1)
local config = f.wait_hosts("web", 1)
f.say(#config.note, config.note == ("n"):rep(512 * 1024))
f.say(config.pools[1].hosts[1].name, #config.pools[1].hosts[1].note, #config.pools[1].name)
f.say(config.pools[1]["caf\239\191\189"])
f.say(f.tally("web", 2))
--- response_body eval
"524288 true
caf\xef\xbf\xbd 307200 3
x
b1=2 true
"
--- error_log
/instances/web/pools/1/hosts/2/port: expected 1..65535, got "9999



=== TEST 6: names that no instance can have are reported, the others serve
--- backends: 1
--- lua
local port = f.hosts(1)[1].port
f.put_host("instances/_x/pools/1/hosts/1", port)
f.put_host("instances/caf%C3%A9/pools/1/hosts/1", port)
f.put_host("instances/" .. ("n"):rep(129) .. "/pools/1/hosts/1", port)
f.put_host("instances/a%20b/pools/1/hosts/1", port)
f.wait_hosts("a b", 1)
f.say(f.show(zedcup.instance_list()))
f.say(f.tally("a b", 2))
--- response_body
{"a b",a b=true}
b1=2 true
--- error_log
/instances/_x/: an instance name must not begin with "_"
: an instance name is printable ASCII without "/"
: an instance name has at most 128 bytes



=== TEST 7: where nothing usable is left the last good content serves on
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
f.put("instances/marker/pools/1/name", "1")
f.put("instances/web/pools/1/hosts/1/port", "broken")
f.wait_hosts("web", 1)
f.say(f.tally("web", 4))
f.put("instances/web/pools/1/hosts/2/port", "broken too")
f.put("instances/marker/pools/1/name", "2")
f.wait(5, function() return zedcup.create_handler("marker"):config().pools[1].name == "2" end)
f.say(f.tally("web", 4))
f.say(f.show(zedcup.instance_list()))
-- and it heals
f.put("instances/web/pools/1/hosts/1/port", f.hosts(1)[1].port)
f.wait(5, function() return zedcup.create_handler("web"):config().pools[1].hosts[1]._idx == 1 end)
f.say(f.tally("web", 4))
--- response_body
b2=4 true
b2=4 true
{"marker","web",marker=true,web=true}
b1=4 true
--- error_log
/instances/web/pools/1/hosts/1/port: expected 1..65535, got "broken"
/instances/web/: nothing usable in it, the last good content (if there is one) stays



=== TEST 8: an instance deleted with all its keys disappears, and nothing else
--- backends: 1
--- lua
for _, name in ipairs({ "a", "ab", "b", "c" }) do
    f.configure(name, f.hosts(1))
end
f.delete("instances/a/", true)
f.wait(5, function() return not zedcup.instance_list().a end)
f.say(zedcup.create_handler("a"))
f.say(f.show(zedcup.instance_list()))
f.say(f.tally("ab", 2))
--- response_body
nil no such instance: a
{"ab","b","c",ab=true,b=true,c=true}
b1=2 true



=== TEST 9: everything below the prefix is deleted, and it begins anew
--- backends: 1
--- lua
f.configure("web", f.hosts(1))
f.configure("api", f.hosts(1))
f.delete("", true)
f.wait(5, function() return #zedcup.instance_list() == 0 end)
f.say(zedcup.create_handler("web"))
f.wait(5, function() return not ngx.shared.zedcup_cache:get("web|peers") end)
f.put_host("instances/new/pools/1/hosts/1", f.hosts(1)[1].port)
f.wait_hosts("new", 1)
f.say(f.tally("new", 2))
--- response_body
nil no such instance: web
b1=2 true
--- no_error_log
[alert]



=== TEST 10: the same after a deletion below, of which Consul wakes nobody
--- backends: 1
--- lua
assert(zedcup.configure({ watcher_interval = 1 }))
for _, name in ipairs({ "a", "b", "c", "d" }) do
    f.configure(name, f.hosts(1))
end
f.delete("instances/a/", true)
f.wait(5, function() return not zedcup.instance_list().a end)
f.delete("", true)
f.wait(5, function() return #zedcup.instance_list() == 0 end)
f.say(zedcup.create_handler("b"))
--- response_body
nil no such instance: b



=== TEST 11: a handler in use outlives its instance
--- backends: 1
--- lua
f.configure("web", f.hosts(1))
local handler = zedcup.create_handler("web")
assert(zedcup.remove_instance("web"))
collectgarbage()
collectgarbage()
f.say(f.ask(handler))
f.say(#handler:config().pools)
f.say(zedcup.create_handler("web"))
--- response_body
b1 200 nil
1
nil no such instance: web



=== TEST 12: rewriting and removing clear the run-time state
--- lua
f.put("state/web/1/1/error_count", 3)
f.put("state/web2/1/1/error_count", 3)
f.configure("web", f.hosts(1))
f.say_stored()
f.put("state/web/1/1/error_count", 3)
f.say(zedcup.remove_instance("web"))
f.say_stored()
--- response_body
instances/web/pools/1/hosts/1/host = 127.0.0.1
instances/web/pools/1/hosts/1/name = b1
instances/web/pools/1/hosts/1/port = PORT1
state/web2/1/1/error_count = 3
true
state/web2/1/1/error_count = 3



=== TEST 13: a host that zedcup took down is told from one of an operator
--- lua
f.put_host("instances/web/pools/1/hosts/1", 80)
f.put("instances/web/pools/1/hosts/1/up", "false", "flags=1")
f.put_host("instances/web/pools/1/hosts/2", 80)
f.put("instances/web/pools/1/hosts/2/up", "false")
f.wait(5, function()
    local handler = zedcup.create_handler("web")
    local hosts = handler and handler:config().pools[1].hosts
    return hosts and hosts[2] and not hosts[2].up
end)
local hosts = zedcup.create_handler("web"):config().pools[1].hosts
f.say(hosts[1].up, hosts[1]._down_by_zedcup)
f.say(hosts[2].up, hosts[2]._down_by_zedcup)
f.say(zedcup.create_handler("web"):request({}))
--- response_body
false true
false nil
nil No available upstream hosts
--- no_error_log
[alert]



=== TEST 14: global settings put by hand; a bad one is named and takes its default
--- lua
assert(zedcup.configure({ watcher_interval = 1 }))
f.put("config/session_ttl", 20)
f.wait(5, function() return zedcup.config().session_ttl == 20 end)
f.put("config/session_ttl", "forever")
f.wait(5, function() return zedcup.config().session_ttl == 30 end)
f.put("config/mine", "x")
f.wait(5, function() return zedcup.config().mine == "x" end)
f.say(f.show(zedcup.config()))
--- response_body
{cache_update_interval=1,consul_wait_time=600,healthcheck_interval=10,host_revive_interval=10,mine="x",session_renew_interval=10,session_ttl=30,watcher_interval=1,worker_lock_ttl=30}
--- error_log
/config/session_ttl: expected 1..86400, got "forever"



=== TEST 15: a damaged record of a rewrite under way leaves what serves alone
--- backends: 1
--- lua
f.configure("web", f.hosts(1))
f.put("instances/web/_pending", "{ not json")
f.put("instances/marker/pools/1/name", "x")
f.wait(5, function() return zedcup.create_handler("marker") end)
f.say(f.tally("web", 2))
--- response_body
b1=2 true
--- error_log
/instances/web/_pending: _pending: not JSON



=== TEST 16: Consul is away at the start: the worker starts, says why, and serves as soon as it is there
--- consul: stopped
--- backends: 1
--- config
location = /handler {
    content_by_lua_block {
        local begun = ngx.now()
        local handler, err = require("zedcup").create_handler("web")
        ngx.update_time()
        ngx.say(handler and require("zedcup_fixture").ask(handler) or err)
        ngx.log(ngx.NOTICE, "took ", ngx.now() - begun < 3.5 and "less than" or "more than", " 3.5 s")
    }
}
location = /write {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        local begun = ngx.now()
        local ok, err = require("zedcup").configure_instance("web", { pools = { { hosts = f.hosts(1) } } })
        ngx.update_time()
        ngx.say(ok and "ok" or err, ngx.now() - begun < 10 and "" or " (slow)")
    }
}
--- script
like(body_of('/handler'), qr/^the store has not been read yet: consul 127\.0\.0\.1:\d+: (?!127).*connect/i,
     'why');
like(body_of('/write'), qr/refused|connect/i, 'a write says why');
unlike(body_of('/write'), qr/slow/, 'and soon');
consul_start();
# the back-off is 10 s at most
wait_for('it is followed', 12, sub { body_of('/handler') eq 'no such instance: web' });
is(body_of('/write'), 'ok', 'and written to');
is(body_of('/handler'), 'b1', 'and served');
--- error_log
; trying again
consul answers again
less than 3.5 s
--- no_error_log
[error]
more than 3.5 s



=== TEST 17: Consul crashes and comes back: requests go on, changes come
--- backends: 2
--- config
location = /first {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        f.configure("web", f.hosts(1))
        f.say(f.tally("web", 3))
    }
}
location = /tally {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        f.say((f.tally("web", 4)))
    }
}
location = /list { content_by_lua_block { ngx.say(#require("zedcup").instance_list()) } }
--- script
is(body_of('/first'), 'b1=3 true', 'served');
consul_stop();
is(body_of('/tally'), 'b1=4', 'without Consul');
wait_for('noticed', 5, sub { error_log() =~ /trying again/ });
is(body_of('/tally'), 'b1=4', 'still');
is(body_of('/list'), '1', 'the list as well');
consul_start();
consul_put('instances/web/pools/1/hosts/2/host', '127.0.0.1');
consul_put('instances/web/pools/1/hosts/2/port', '$TEST_NGINX_BACKEND_PORT2');
wait_for('the change is there', 10, sub { body_of('/tally') eq 'b1=2 b2=2' });
--- error_log
consul answers again



=== TEST 18: Consul hangs: requests go on, writes end with an error
--- http_config
init_by_lua_block {
    require("zedcup_fixture").setup({ ports = { $TEST_NGINX_BACKEND_PORT, $TEST_NGINX_BACKEND_PORT2 } })
    assert(require("zedcup").init({ prefix = "$TEST_NGINX_PREFIX", consul = {
        port = $TEST_NGINX_CONSUL_PORT, read_timeout = 500 } }))
}
--- backends: 2
--- config
location = /first {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        f.configure("web", f.hosts(1))
        f.say(f.tally("web", 3))
    }
}
location = /tally {
    content_by_lua_block {
        local f = require("zedcup_fixture")
        f.say((f.tally("web", 4)))
    }
}
location = /write {
    content_by_lua_block {
        local ok, err = require("zedcup").configure_instance("other", {})
        ngx.say(tostring(ok), " ", err)
    }
}
--- script
is(body_of('/first'), 'b1=3 true', 'served');
consul_freeze(1);
is(body_of('/tally'), 'b1=4', 'while it hangs');
my $begun = Time::HiRes::time();
like(body_of('/write'), qr/^nil .*timed out|timeout/i, 'a write says so');
cmp_ok(Time::HiRes::time() - $begun, '<', 8, 'in time');
is(body_of('/tally'), 'b1=4', 'and requests go on');
consul_freeze(0);
consul_put('instances/web/pools/1/hosts/2/host', '127.0.0.1');
consul_put('instances/web/pools/1/hosts/2/port', '$TEST_NGINX_BACKEND_PORT2');
wait_for('the change is there', 10, sub { body_of('/tally') eq 'b1=2 b2=2' });
--- no_error_log
[alert]
