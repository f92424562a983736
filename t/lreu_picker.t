# lreu.picker on a dictionary that is written by hand: no syncer runs.
use lib 't/lib';
use ZedcupTest 'no_plan';
use DnsServer;
use ZedcupStore;
use LreuTest;

DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_CONSUL_PORT3});

run_tests();

__DATA__

=== TEST 1: weights 3:1 give 30:10 in 40 picks, never more than three in a row
--- lua
lreu.write("web", lreu.weights(3, 1))
local seq = lreu.sequence(40, function() return picker.rr("web") end)
local _, ones = seq:gsub("1", "")
f.say(ones, lreu.longest_run(seq) <= 3)
lreu.write("three", lreu.weights(5, 1, 1))
f.say(select(2, lreu.tally(70, function() return picker.rr("three") end)))
f.say(select(2, lreu.tally(40, function() return picker.pick("web") end)))
local peer = picker.rr("web")
f.say(type(peer.host), type(peer.port), type(peer.weight), peer.name == peer.host .. ":" .. peer.port)
--- response_body
30 true
1=50 2=10 3=10
1=30 2=10
string number number true



=== TEST 2: a peer that is down, or without a weight, is not picked by any method
--- lua
local peers = lreu.weights(1, 1, 0, 2)
peers[1].status = "down"
peers[2].status = "up"
lreu.write("web", peers)
for _, method in ipairs({ "rr", "weighted_rr", "hash", "least_conn", "ewma", "random" }) do
    local seen = lreu.tally(300, function(i) return picker.pick("web", { method = method, key = "k" .. i }) end)
    f.say(method, seen["1"], seen["3"], seen["2"] > 40, seen["4"] > 140)
end
-- all of them: that is what the operator wants
peers[2].status, peers[4].status = "down", "down"
lreu.write("web", peers)
f.say(picker.rr("web"))
f.say(picker.hash("web", "k"))
lreu.write("empty", {})
f.say(picker.rr("empty"))
f.say(picker.show("empty"))
--- response_body
rr nil nil true true
weighted_rr nil nil true true
hash nil nil true true
least_conn nil nil true true
ewma nil nil true true
random nil nil true true
nil no peer of web is usable
nil no peer of web is usable
nil no peer of empty is usable
[]



=== TEST 3: checkdown keys of whoever, with or without an expiry, keep a peer out
--- lua
lreu.write("web", lreu.weights(1, 1, 1))
local function seen() lreu.tick() return (select(2, lreu.tally(12, function() return picker.rr("web") end))) end
f.say(seen())
dict:set("checkdown:web:10.0.0.2:80", true)
f.say(seen())
dict:set("checkdown:web:10.0.0.3:80", 1, 0.3)
f.say(seen())
f.wait(3, function() return seen() == "1=6 3=6" end)
dict:delete("checkdown:web:10.0.0.2:80")
f.say(seen())
-- each method
dict:set("checkdown:web:10.0.0.1:80", true)
lreu.tick()
for _, method in ipairs({ "hash", "least_conn", "ewma", "random" }) do
    local counts = lreu.tally(100, function(i) return picker.pick("web", { method = method, key = "k" .. i }) end)
    f.say(method, counts["1"], counts["2"] > 10, counts["3"] > 10)
end
f.say(lreu.summary("web"))
--- response_body
1=4 2=4 3=4
1=6 3=6
1=12
1=4 2=4 3=4
hash nil true true
least_conn nil true true
ewma nil true true
random nil true true
10.0.0.1:80/1/checkdown 10.0.0.2:80/1 10.0.0.3:80/1



=== TEST 4: peers that are all out are used all the same, with a line in the log
--- lua
local peers = lreu.weights(1, 1, 1)
peers[3].status = "down"
lreu.write("web", peers)
dict:set("checkdown:web:10.0.0.1:80", true)
dict:set("checkdown:web:10.0.0.2:80", true)
lreu.tick()
local both = lreu.tally(10, function() return picker.rr("web") end)
f.say(both["1"] >= 4, both["2"] >= 4, both["3"])
-- one is back: the others are out again
dict:delete("checkdown:web:10.0.0.2:80")
f.wait(2, function() lreu.tick() return select(2, lreu.tally(4, function() return picker.rr("web") end)) == "2=4" end)
-- and cut to nothing is out, too
assert(picker.cutdown("web", "10.0.0.2:80", 100))
lreu.tick()
f.say(select(2, lreu.tally(10, function() return picker.rr("web") end)))
--- response_body
true true nil
1=5 2=5
--- error_log
lreu: web: all peers are out by checks or cuts; they are used all the same
--- no_error_log
[alert]



=== TEST 5: ten thousand peers out at once are found in one go
--- dict: 4m
--- lua
local peers = {}
for i = 1, 10000 do
    peers[i] = { host = "10.1." .. math.floor(i / 250) .. "." .. i % 250, port = 80 }
    if i ~= 5000 then dict:set("checkdown:big:" .. peers[i].host .. ":80", true) end
end
lreu.write("big", peers)
local before = os.clock()
local peer = assert(picker.rr("big"))
f.say(peer.host, os.clock() - before < 0.5)
--- response_body
10.1.20.0 true



=== TEST 6: ban_peer is left out, by name or table, unless it is the only one
--- lua
lreu.write("web", lreu.weights(1, 1, 1))
f.say(select(2, lreu.tally(12, function() return picker.rr("web", "10.0.0.2:80") end)))
local bad = picker.rr("web")
f.say(lreu.tally(12, function() return picker.rr("web", bad) end)[bad.host:match("%d+$")])
f.say(select(2, lreu.tally(12, function() return picker.rr("web", { host = "10.0.0.1", port = 80 }) end)))
f.say(select(2, lreu.tally(12, function() return picker.pick("web", { ban = { "10.0.0.1:80", { host = "10.0.0.2", port = "80" } } }) end)))
f.say(select(2, lreu.tally(12, function() return picker.rr("web", "10.9.9.9:80") end)))
f.say(lreu.tally(100, function(i) return picker.hash("web", "k" .. i, "10.0.0.2:80") end)["2"])
f.say(lreu.tally(100, function(i) return picker.random("web", "10.0.0.2:80") end)["2"])
f.say(lreu.tally(100, function(i) return picker.least_conn("web", "10.0.0.2:80") end)["2"])
f.say(lreu.tally(100, function(i) return picker.ewma("web", "10.0.0.2:80") end)["2"])
f.say(select(2, lreu.tally(6, function() return picker.pick("web", { ban = { "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80" } }) end)))
lreu.write("one", lreu.weights(1))
f.say(picker.rr("one", "10.0.0.1:80").name, picker.rr("one", picker.rr("one")).name)
--- response_body
1=6 3=6
nil
2=6 3=6
3=12
1=4 2=4 3=4
nil
nil
nil
nil
1=2 2=2 3=2
10.0.0.1:80 10.0.0.1:80



=== TEST 7: cutdown, recover and setBlackHole change shares, and show says so
--- lua
lreu.write("web", lreu.weights(1, 1))
assert(picker.cutdown("web", "10.0.0.1:80", 50))
f.say(select(2, lreu.tally(30, function() return picker.rr("web") end)), lreu.summary("web"))
assert(picker.cutdown("web", { host = "10.0.0.1", port = 80 }, "75"))
f.say(select(2, lreu.tally(50, function() return picker.rr("web") end)))
assert(picker.cutdown("web", picker.rr("web", "10.0.0.2:80"), 100))
f.say(select(2, lreu.tally(10, function() return picker.rr("web") end)))
-- it outlives a change of the peers
lreu.write("web", lreu.weights(1, 1, 1))
f.say(select(2, lreu.tally(10, function() return picker.rr("web") end)))
assert(picker.recover("web", "10.0.0.1:80"))
f.say(select(2, lreu.tally(12, function() return picker.rr("web") end)), lreu.summary("web"))
assert(picker.setBlackHole("web", 100))
f.say(picker.rr("web"))
f.say(picker.hash("web", "x"))
assert(picker.setBlackHole("web", 50))
local lost = lreu.tally(1000, function() return picker.rr("web") end)["(black hole)"]
f.say(lost > 400 and lost < 600)
assert(picker.setBlackHole("web", 0))
f.say(select(2, lreu.tally(12, function() return picker.rr("web") end)))
--- response_body
1=10 2=20 10.0.0.1:80/1/cut=50 10.0.0.2:80/1
1=10 2=40
2=10
2=5 3=5
1=4 2=4 3=4 10.0.0.1:80/1 10.0.0.2:80/1 10.0.0.3:80/1
nil black hole
nil black hole
true
1=4 2=4 3=4



=== TEST 8: show has every field
--- lua
lreu.write("web", { { host = "10.0.0.1", port = 80, weight = 2, status = "up", slow_start = 5, start_at = 12, check_url = "/h" } })
local shown = require("cjson").decode(picker.show("web"))
f.say(#shown, f.show(shown[1]))
--- response_body
1 {active=0,check_url="/h",checkdown=false,cutdown=0,host="10.0.0.1",name="10.0.0.1:80",port=80,slow_start=5,start_at=12,status="up",weight=2}



=== TEST 9: hash keeps keys with their peers, and moves only those of a peer that goes
--- lua
lreu.write("web", lreu.weights(1, 1, 1, 1))
local before, moved, kept = {}, 0, 0
for i = 1, 400 do before[i] = picker.hash("web", "key" .. i).name end
for i = 1, 400 do assert(picker.hash("web", "key" .. i).name == before[i]) end
assert(picker.hash("web", 17).name == picker.hash("web", "17").name)
local peers = lreu.weights(1, 1, 1, 1)
table.remove(peers, 2)
lreu.write("web", peers)
for i = 1, 400 do
    local now = picker.hash("web", "key" .. i).name
    if before[i] ~= "10.0.0.2:80" then
        if now == before[i] then kept = kept + 1 else moved = moved + 1 end
    end
end
f.say(moved, kept > 250)
lreu.write("web", lreu.weights(1, 1, 1, 1))
local same = 0
for i = 1, 400 do same = same + (picker.hash("web", "key" .. i).name == before[i] and 1 or 0) end
f.say(same)
f.say(picker.hash("web", "").name, picker.hash("web", ("x"):rep(100000)).name ~= nil, picker.hash("web", "a\0b").name ~= nil)
--- response_body_like
^0 true
400
10\.0\.0\.\d:80 true true$



=== TEST 10: random goes by weight
--- lua
lreu.write("web", lreu.weights(3, 1))
local seen = lreu.tally(4000, function() return picker.random("web") end)
f.say(seen["1"] > 2850, seen["1"] < 3150)
--- response_body
true true



=== TEST 11: host names become their addresses in turn, each name in its own turn
--- http_config
resolver 127.0.0.1:$TEST_NGINX_CONSUL_PORT3 ipv6=off;
--- lua
local dns = require("dns_fixture")
dns.setup("$TEST_NGINX_DNS_FILE")
dns.set("a.test 60 127.0.0.1", "a.test 60 127.0.0.2", "b.test 60 127.0.0.7")
lreu.write("web", { { host = "a.test", port = 80 }, { host = "b.test", port = 80 }, { host = "nobody.test", port = 80 } })
f.wait(5, function()
    local seen = lreu.tally(12, function() return picker.rr("web") end)
    return seen["1"] and seen["2"] and seen["7"]
end)
f.say(select(2, lreu.tally(40, function() return picker.rr("web") end)))
local one = picker.rr("web", "b.test:80")
f.say(one.name, one.port, one.weight)
f.say(picker.rr("web", one).name)
f.say(select(2, lreu.tally(10, function(i) return picker.hash("web", "k", "a.test:80") end)))
-- the same as the only one
lreu.write("one", { { host = "a.test", port = 80 }, { host = "localhost", port = 81 } })
f.say(select(2, lreu.tally(12, function() local p = picker.rr("one") return p and { host = p.name } end)))
lreu.write("none", { { host = "nobody.test", port = 80 } })
f.say(picker.rr("none"))
--- response_body
1=10 2=10 7=20
a.test:80 80 1
b.test:80
7=10
80=6 81=6
nil no peer of none is usable
--- error_log
"nobody.test" could not be resolved
--- no_error_log
[alert]



=== TEST 12: bad arguments of every kind give nil and a text, and never raise
--- lua
lreu.write("web", lreu.weights(1, 1))
local big, nan, inf = ("x"):rep(200000), 0 / 0, math.huge
local bad = { false, 7, nan, {}, { {} }, { host = "x" }, { host = {}, port = {} }, print, "", "a\0b", "a|b", big, "web|peers", ngx.null }
local function short(text) return text and (tostring(text):gsub("x+x", "x…"):gsub("0x%x+", "0x"):gsub("builtin: %S+", "builtin")) end
local function try(what, call, ...)
    local ok, peer, err = pcall(call, ...)
    if not ok then f.say(what, "RAISED", short(peer)) end
    if ok and peer ~= nil then f.say(what, "took it:", short(peer)) end
    if ok and peer == nil and type(err) ~= "string" then f.say(what, "no text", short(err)) end
    return short(err)
end
for _, name in ipairs({ "rr", "hash", "least_conn", "ewma", "random", "show", "pick", "cutdown", "recover", "setBlackHole" }) do
    try(name .. " nil", picker[name], nil, name == "hash" and "k" or nil)
    for i, value in ipairs(bad) do
        try(name .. " " .. i, picker[name], value, name == "hash" and "k" or nil)
    end
end
-- services are fine, other arguments are not
for i, value in ipairs(bad) do
    if type(value) ~= "table" and type(value) ~= "string" or value.host then
        try("rr ban " .. i, picker.rr, "web", value)
        try("pick ban " .. i, picker.pick, "web", { ban = value })
    end
    try("pick opts.method " .. i, picker.pick, "web", { method = value })
    if type(value) ~= "table" then try("pick opts " .. i, picker.pick, "web", value or 1) end
    try("cutdown peer " .. i, picker.cutdown, "web", value, 10)
    try("recover peer " .. i, picker.recover, "web", value)
    if value ~= 7 then
        try("cutdown percent " .. i, picker.cutdown, "web", "10.0.0.1:80", value)
        try("setBlackHole percent " .. i, picker.setBlackHole, "web", value)
    end
    if type(value) ~= "string" and type(value) ~= "number" then
        try("hash key " .. i, picker.hash, "web", value)
        try("pick key " .. i, picker.pick, "web", { method = "hash", key = value })
    end
end
for _, value in ipairs({ -1, 100.1, nan, inf, -inf }) do
    try("percent " .. value, picker.cutdown, "web", "10.0.0.1:80", value)
    try("percent " .. value, picker.setBlackHole, "web", value)
end
f.say(try("", picker.rr, nil))
f.say(try("", picker.rr, "nope"))
f.say(try("", picker.hash, "web", nil))
f.say(try("", picker.rr, "web", 7))
f.say(try("", picker.rr, "web", { host = "x" }))
f.say(try("", picker.pick, "web", { ban = { {} } }))
f.say(try("", picker.pick, "web", { method = "fast" }))
f.say(try("", picker.pick, "web", { method = "hash" }))
f.say(try("", picker.pick, "web", { method = "hash", key = {} }))
f.say(try("", picker.cutdown, "web", "10.0.0.9:80", 10))
f.say(try("", picker.cutdown, "web", nil, 10))
f.say(try("", picker.cutdown, "web", { host = "x" }, 10))
f.say(try("", picker.cutdown, "web", "10.0.0.1:80", 101))
f.say(try("", picker.setBlackHole, "web", "many"))
-- and nothing came of all that
f.say(select(2, lreu.tally(10, function() return picker.rr("web") end)))
--- response_body
service: expected a string, got nil
no such service: nope
key: expected a string, got nil
ban_peer: expected "host:port" or a table with host and port, got 7
ban_peer: expected "host:port" or a table with host and port, got table: 0x
opts.ban: expected "host:port" or a table with host and port, got table: 0x
opts.method: expected rr, hash, least_conn, ewma or random, got fast
opts.key: expected a string, got nil
opts.key: expected a string, got table: 0x
peer: web has no peer 10.0.0.9:80
peer: expected "host:port" or a table with host and port, got nil
peer: expected "host:port" or a table with host and port, got table: 0x
percent: expected 0..100, got 101
percent: expected 0..100, got many
1=5 2=5



=== TEST 13: bad arguments of init, and no init at all
--- http_config
init_worker_by_lua_block { }
--- lua
f.say(picker.rr("web"))
f.say(picker.show("web"))
f.say(picker.init(nil))
f.say(picker.init({}))
f.say(picker.init("nope"))
f.say(picker.init(ngx.shared.nope))
f.say(picker.init("lreu"))
f.say(picker.rr("web"))
lreu.write("web", lreu.weights(1))
f.say(picker.rr("web").name)
--- response_body_like
^nil call picker.init\(\) first
nil call picker.init\(\) first
nil dict: expected ngx.shared.<name>, got nil
nil dict: expected ngx.shared.<name>, got table: 0x\w+
nil dict: no lua_shared_dict nope
nil dict: expected ngx.shared.<name>, got nil
true
nil no services yet: the store was not read so far
10.0.0.1:80$
--- error_log
lreu: picker.init: dict: no lua_shared_dict nope
--- no_error_log
[alert]



=== TEST 14: peers that are missing, not JSON, or no list: the last good ones stay
--- lua
lreu.write("web", lreu.weights(1, 1))
f.say(lreu.summary("web"))
for _, text in ipairs({ "", "nonsense", "[1,", "null", "7", '"x"', '{"a":1}', '[1,2]', '[{}]', '[{"host":"10.0.0.1"}]',
                        '[{"host":"10.0.0.1","port":"x"}]', '[{"host":7,"port":80}]', '[null]', '[[]]' }) do
    lreu.write("web", text)
    local line = lreu.summary("web")
    if line ~= "10.0.0.1:80/1 10.0.0.2:80/1" or not picker.rr("web") then f.say(text, line) end
end
dict:delete("web|peers")
dict:set("web|version", 999)
lreu.tick()
f.say(lreu.summary("web"), select(2, lreu.tally(4, function() return picker.rr("web") end)))
-- whole again
lreu.write("web", lreu.weights(1, 1, 1))
f.say(lreu.summary("web"))
-- a service that was never good is none
lreu.write("bad", "nonsense")
f.say(picker.rr("bad"))
--- response_body
10.0.0.1:80/1 10.0.0.2:80/1
10.0.0.1:80/1 10.0.0.2:80/1 1=2 2=2
10.0.0.1:80/1 10.0.0.2:80/1 10.0.0.3:80/1
nil bad|peers: expected a JSON array of peers
--- error_log
lreu: web|peers: 
--- no_error_log
[alert]



=== TEST 15: fields that are missing or mean nothing get their defaults
--- lua
lreu.write("web", [[ [
  {"host":"10.0.0.1","port":80},
  {"host":"10.0.0.2","port":"81","weight":"2"},
  {"host":"10.0.0.3","port":80,"weight":-5,"slow_start":-1,"start_at":"x","status":7},
  {"host":"10.0.0.4","port":80,"weight":1e300,"slow_start":1e300,"start_at":1e300},
  {"host":"10.0.0.5","port":80,"weight":null,"slow_start":null,"start_at":null,"status":null},
  {"host":"10.0.0.6","port":80,"weight":{},"slow_start":[],"start_at":{},"status":[]},
  {"host":"10.0.0.7","port":99999},
  {"host":"","port":80},
  7, null, "x"
] ]])
f.say(lreu.summary("web"))
f.say(select(2, lreu.tally(14, function() return picker.rr("web") end)))
--- response_body
10.0.0.1:80/1 10.0.0.2:81/2 10.0.0.3:80/1 10.0.0.4:80/1 10.0.0.5:80/1 10.0.0.6:80/1
1=2 2=4 3=2 4=2 5=2 6=2
--- error_log
lreu: web|peers: 
--- no_error_log
[alert]



=== TEST 16: a dictionary without room: an error, and shares stay what they were
--- dict: 24k
--- lua
lreu.write("web", lreu.weights(1, 1))
picker.rr("web")
for i = 1, 1000 do if not dict:safe_set("fill" .. i, ("x"):rep(40)) then break end end
local ok, err
for i = 1, 60 do
    ok, err = picker.cutdown("web", "10.0.0.1:80", 50)
    if not ok then break end
    dict:safe_set("more" .. i, ("x"):rep(10))
end
f.say(ok, err)
f.say(lreu.summary("web"))
f.say(select(2, lreu.tally(10, function() return picker.rr("web") end)))
--- response_body
nil the shared dictionary has no room: no memory
10.0.0.1:80/1 10.0.0.2:80/1
1=5 2=5



=== TEST 17: slow_start in every method: a tenth at first, a half later, all in the end
--- lua
local start = ngx.now()
local peers = lreu.weights(1, 1, 1)
peers[3].slow_start, peers[3].start_at = 4, start
lreu.write("web", peers)
local methods = { "rr", "hash", "least_conn", "ewma", "random" }
local function share(method)
    local seen = lreu.tally(1500, function(i) return picker.pick("web", { method = method, key = "k" .. i }) end)
    return (seen["3"] or 0) / 500
end
local first, half = {}, {}
for _, method in ipairs(methods) do first[method] = share(method) end
f.wait(4, function() return ngx.now() >= start + 2 end)
for _, method in ipairs(methods) do half[method] = share(method) end
f.wait(4, function() return ngx.now() >= start + 4.1 end)
for _, method in ipairs(methods) do
    local last = share(method)
    local good = first[method] > 0 and first[method] < 0.45 and half[method] > first[method]
        and half[method] < 0.85 and last > 0.8 and last < 1.2
    f.say(method, good or (first[method] .. " " .. half[method] .. " " .. last))
end
--- response_body
rr true
hash true
least_conn true
ewma true
random true



=== TEST 18: a peer that recovers rises slowly
--- lua
local peers = lreu.weights(1, 1)
peers[2].slow_start = 3600
lreu.write("web", peers)
local function share() return lreu.tally(1000, function() return picker.rr("web") end)["2"] or 0 end
f.say(share())
dict:set("checkdown:web:10.0.0.2:80", true)
lreu.tick()
f.say(share())
dict:delete("checkdown:web:10.0.0.2:80")
f.wait(2, function() lreu.tick() return share() > 0 end)
local now = share()
f.say(now > 50 and now < 150 or now)
--- response_body
500
0
true



=== TEST 19: a service that is deleted is none, and comes back
--- lua
lreu.write("web", lreu.weights(1))
f.say(picker.rr("web").name)
dict:delete("web|version")
dict:delete("web|peers")
lreu.tick()
f.say(picker.rr("web"))
lreu.write("web", lreu.weights(1, 1))
f.say(lreu.summary("web"))
--- response_body
10.0.0.1:80
nil no such service: web
10.0.0.1:80/1 10.0.0.2:80/1



=== TEST 20: names with odd characters are names
--- lua
for _, name in ipairs({ "a b", "a:b", "ümläut", "%s", "judger", "version", "a.b-c_d" }) do
    lreu.write(name, lreu.weights(1))
    local peer, err = picker.rr(name)
    f.say(name, peer and peer.name or err)
end
--- response_body
a b 10.0.0.1:80
a:b 10.0.0.1:80
ümläut 10.0.0.1:80
%s 10.0.0.1:80
judger 10.0.0.1:80
version 10.0.0.1:80
a.b-c_d 10.0.0.1:80
