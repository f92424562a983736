# How a handler chooses: the methods, keys, limits, and slow start.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

run_tests();

__DATA__

=== TEST 1: the method of an instance is that of its pools that say none
--- lua
assert(zedcup.configure_instance("web", { method = "random", pools = {
    { hosts = { { host = "10.0.0.1", port = 80 } } },
    { method = "hash", slow_start = 30, hosts = { { host = "10.0.0.1", port = 80, slow_start = 5 }, { host = "10.0.0.2", port = 80 } } } } }))
local config = zedcup.create_handler("web"):config()
f.say(config.method, config.pools[1].method, config.pools[2].method, config.pools[2].slow_start,
      config.pools[2].hosts[1].slow_start, config.pools[2].hosts[2].slow_start)
for _, bad in ipairs({ { method = "fair" }, { pools = { { hash_balance_factor = 99 } } }, { pools = { { slow_start = "x" } } },
                       { pools = { { hosts = { { host = "a", port = 1, max_conns = 65536 } } } } } }) do
    f.say(select(2, zedcup.configure_instance("web", bad)))
end
--- response_body
random random hash 30 5 nil
method: expected weighted_rr, hash, least_conn, ewma or random, got "fair"
pools[1].hash_balance_factor: expected 0 or 101..10000, got "99"
pools[1].slow_start: expected 0..86400, got "x"
pools[1].hosts[1].max_conns: expected 0..65535, got "65536"



=== TEST 2: hash stays with a host for a key: of create_handler, of request, else the client's address
--- backends: 3
--- lua
f.configure("web", f.hosts(3), { method = "hash" })
local function ask(opts, key)
    local handler = assert(zedcup.create_handler("web", opts))
    local res = assert(handler:request({ path = "/", key = key }))
    local body = res:read_body()
    handler:set_keepalive()
    return body
end
local own, seen, moved = ask(), {}, 0
for i = 1, 30 do
    local key = "user" .. i
    local who = ask({ key = key })
    seen[who] = true
    moved = moved + (ask(nil, key) == who and 0 or 1) + (ask({ key = "other" }, key) == who and 0 or 1)
            + (ask() == own and 0 or 1) + (ask({ key = i }) == ask(nil, i) and 0 or 1)
end
f.say(moved, seen.b1 and seen.b2 and seen.b3)
f.say(ask({ key = "127.0.0.1" }) == own)
f.say(zedcup.create_handler("web", { key = {} }))
f.say(zedcup.create_handler("web", 5))
f.say(zedcup.create_handler("web"):request({ path = "/", key = true }))
--- response_body
0 true
true
nil key: expected a string, got table
nil opts: expected a table, got number
nil key: expected a string, got boolean



=== TEST 3: a host at its max_conns gets no more until one ends, however it ends
--- backends: 2
--- lua
local function tally(n)
    local held, got = {}, {}
    for i = 1, n do
        local handler = zedcup.create_handler("web")
        local sock, err = handler:connect()
        local name = sock and handler.pool and "ok" or err
        got[name] = (got[name] or 0) + 1
        held[i] = handler
    end
    return held, (got.ok or 0) .. " " .. (got["No available upstream hosts"] or 0)
end
f.configure("web", f.hosts(2), { max_conns = 2 })
local held, got = tally(5)
f.say(got)
held[1]:close()
held[2]:set_keepalive()
local more
more, got = tally(3)
f.say(got)
for i, handler in ipairs(more) do if handler.client then handler:close() end end
for i = 3, 4 do held[i].client:close() held[i] = nil end
held, more = nil, nil
collectgarbage() collectgarbage()
f.say(select(2, tally(5)))
--- response_body
4 1
2 1
4 1



=== TEST 4: least_conn goes where less is under way; a request that fails is no more
--- backends: 2
--- lua
local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
f.configure("web", { dead, f.hosts(1)[1] }, { method = "least_conn", max_errors = 1000000, max_conns = 3 })
for _ = 1, 20 do
    if f.ask(zedcup.create_handler("web")) ~= "b1" then f.say("lost") end
end
f.configure("web", f.hosts(2), { method = "least_conn" })
local first = zedcup.create_handler("web")
assert(first:request({ path = "/" }))
local busy = first.client:request({ path = "/" }) and "b1"
local counts = {}
for _ = 1, 20 do
    local who = f.ask(zedcup.create_handler("web"))
    counts[who] = (counts[who] or 0) + 1
end
f.say(counts.b1 == 20 or counts.b2 == 20)
--- response_body
true



=== TEST 5: in a timer there is no client: hash has one key there
--- backends: 3
--- lua
f.configure("web", f.hosts(3), { method = "hash" })
local got
ngx.timer.at(0, function()
    local a, b = f.ask(zedcup.create_handler("web")), f.ask(zedcup.create_handler("web"))
    got = tostring(a == b and a:find("^b%d$") == 1)
end)
f.say(f.wait(5, function() return got end))
--- response_body
true
