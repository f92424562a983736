# Events: who is told what, in which order, and what a callback may do.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

run_tests();

__DATA__

=== TEST 1: a handler's callbacks come first, then the global ones, in binding order
--- backends: 1
--- init_worker
said = {}
for i = 1, 2 do
    assert(require("zedcup").bind("host_connect", function(instance, data)
        said[#said + 1] = "global " .. i .. " " .. instance .. " " .. data.host.name
    end))
end
--- lua
f.configure("web", f.hosts(1))
local handler = zedcup.create_handler("web")
for i = 1, 2 do
    assert(handler:bind("host_connect", function(data, more)
        said[#said + 1] = "own " .. i .. " " .. data.host.name .. tostring(more)
    end))
end
f.ask(handler)
f.say(table.concat(said, ", "))
said = {}
f.ask(zedcup.create_handler("web"))
f.say(table.concat(said, ", "))
--- response_body
own 1 b1nil, own 2 b1nil, global 1 web b1, global 2 web b1
global 1 web b1, global 2 web b1



=== TEST 2: the data: pool and host as configured, with defaults, and the error
--- backends: 1
--- lua
f.configure("web", { { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT, note = "n" }, f.hosts(1)[1] },
            { name = "first" })
local handler = zedcup.create_handler("web")
local function show(event)
    handler:bind(event, function(data)
        f.say(event, data.pool.name, data.pool._idx, data.pool.timeout, #data.pool.hosts, data.host.name,
              data.host._idx, data.host.weight, data.host.note, data.err)
        f.say(data.host._pool.name, data.host._pool.hosts)
    end)
end
show("host_connect")
show("host_connect_error")
show("host_request_error")
f.ask(handler, { path = "/404" })
--- response_body
host_connect_error first 1 2000 2 dead 1 1 n connection refused
first nil
host_connect first 1 2000 2 b1 2 1 nil nil
first nil
host_request_error first 1 2000 2 b1 2 1 nil status code 404
first nil



=== TEST 3: a callback that raises is logged, and the next still runs
--- backends: 1
--- lua
f.configure("web", f.hosts(1))
local handler = zedcup.create_handler("web")
local said = {}
handler:bind("host_connect", function() error("first oops") end)
handler:bind("host_connect", function() error({ "a table" }) end)
handler:bind("host_connect", function() said[#said + 1] = "own" end)
zedcup.bind("host_connect", function() error("second oops") end)
zedcup.bind("host_connect", function() said[#said + 1] = "global" end)
f.say(f.ask(handler))
f.say(table.concat(said, " "))
--- response_body
b1 200 nil
own global
--- error_log
a callback for host_connect failed:
first oops
second oops



=== TEST 4: what cannot be bound
--- lua
f.configure("web", {})
local handler = zedcup.create_handler("web")
for _, bind in ipairs({ function(...) return zedcup.bind(...) end,
                        function(...) return handler:bind(...) end }) do
    f.say(bind("host_connected", print))
    f.say(bind("", print))
    f.say(bind(nil, print))
    f.say(bind(5, print))
    f.say(bind("host_up"))
    f.say(bind("host_up", "print"))
    f.say(bind("host_up", print))
    f.say(bind("host_down", print))
end
--- response_body
nil unknown event: host_connected
nil unknown event: 
nil unknown event: nil
nil unknown event: 5
nil expected a function as callback, got nil
nil expected a function as callback, got string
true
true
nil unknown event: host_connected
nil unknown event: 
nil unknown event: nil
nil unknown event: 5
nil expected a function as callback, got nil
nil expected a function as callback, got string
true
true



=== TEST 5: callbacks may yield, call zedcup, and bind more
--- backends: 2
--- lua
f.configure("web", f.hosts(1))
f.configure("other", { f.hosts(2)[2] })
local said = {}
local handler = zedcup.create_handler("web")
handler:bind("host_connect", function()
    ngx.sleep(0.01)
    said[#said + 1] = f.ask(zedcup.create_handler("other"))
    handler:bind("host_connect", function() said[#said + 1] = "late" end)
end)
f.say(f.ask(handler))
f.say(table.concat(said, " "))
said = {}
f.say(f.ask(handler))
f.say(table.concat(said, " "))
--- response_body
b1 200 nil
b2
b1 200 nil
b2 late



=== TEST 6: what a callback does to the data stays out of what is served
--- backends: 2
--- lua
f.configure("web", f.hosts(2))
local handler = zedcup.create_handler("web")
handler:bind("host_connect", function(data)
    data.host.port = 1
    data.host.host = "elsewhere"
    data.host._pool.name = "x"
    data.pool.hosts = nil
    data.pool.up = false
    data.pool.timeout = "soon"
end)
f.say(f.ask(handler))
f.say(f.ask(handler))
f.say(f.tally("web", 4))
local config = zedcup.create_handler("web"):config()
f.say(config.pools[1].timeout, #config.pools[1].hosts, config.pools[1].hosts[1].port)
--- response_body
b1 200 nil
b2 200 nil
b1=2 b2=2 false
2000 2 PORT1



=== TEST 7: events of connect() with a driver; each failed host once
--- backends: 1
--- lua
local dead = { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
f.configure("web", { dead, dead, f.hosts(1)[1] })
local said = {}
for _, event in ipairs({ "host_connect", "host_connect_error", "host_request_error" }) do
    zedcup.bind(event, function(_, data) said[#said + 1] = event .. " " .. data.host.name end)
end
local handler = zedcup.create_handler("web")
f.say(handler:connect() ~= nil)
handler:close()
f.say(table.concat(said, ", "))
said = {}
f.say(handler:connect(ngx.socket.tcp()) ~= nil)
f.say(table.concat(said, ", "))
--- response_body
true
host_connect_error 1, host_connect_error 2, host_connect b1
true
host_connect b1
