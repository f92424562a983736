# ngx.dynamic: zones listed and described, peers added, set, removed, replaced;
# and all that a caller may get wrong.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'none';

our $upstreams = <<'END';
    upstream foo {
        zone dynamic_foo 32k;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    }
    upstream bar {
        zone dynamic_bar 32k;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT2;
    }
    upstream without {
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT3;
    }
END

our $proxies = <<'END';
    location = /foo { proxy_pass http://foo/; }
    location = /bar { proxy_pass http://bar/; }
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $upstreams) if !defined $block->http_config;
    $block->set_value('config', $proxies . ($block->config // ''));
    $block->set_value('backends', 3) if !defined $block->backends;
});

run_tests();

__DATA__

=== TEST 1: list_zones() names the zones in order, without holes
--- config
    location = /dynamic/list {
        default_type text/plain;
        content_by_lua '
            local dynamic = require "ngx.dynamic"
            local zones, err = dynamic.list_zones()
            if not zones then
                ngx.say("unable to list upstream zone names: " .. err)
            else
                ngx.say("Upstream zone names:")
                for i, z in ipairs(zones) do
                    ngx.say("    ", z)
                end
            end
        ';
    }
--- request
GET /dynamic/list
--- response_body
Upstream zone names:
    dynamic_foo
    dynamic_bar



=== TEST 2: describe_zone() gives each peer with the documented fields
--- http_config
    upstream foo {
        zone dynamic_foo 32k;
        server 127.0.0.1:8030;
        server 127.0.0.1:8031 weight=3 max_fails=2 fail_timeout=20s;
        server 127.0.0.1:8032 down max_conns=5;
        server 127.0.0.1:8033 backup;
    }
    upstream bar { zone dynamic_bar 32k; server 127.0.0.1:8034; }
--- config
    location = /dynamic/describe {
        default_type text/plain;
        content_by_lua '
            local dynamic = require "ngx.dynamic"
            local zones, err = dynamic.describe_zone("dynamic_foo")
            if not zones then
                ngx.say("unable to describe upstream zone: " .. err)
            else
                for i, zone in ipairs(zones) do
                    ngx.say("Peer")
                    local keys = {}
                    for k, v in pairs(zone) do
                        keys[#keys + 1] = k
                    end
                    table.sort(keys)
                    for _, k in ipairs(keys) do
                        ngx.say("    ",k, " => ", zone[k])
                    end
                end
            end
        ';
    }
--- request
GET /dynamic/describe
--- response_body
Peer
    conns => 0
    current_weight => 0
    effective_weight => 1
    fail_timeout => 10
    fails => 0
    max_fails => 1
    name => 127.0.0.1:8030
    weight => 1
Peer
    conns => 0
    current_weight => 0
    effective_weight => 3
    fail_timeout => 20
    fails => 0
    max_fails => 2
    name => 127.0.0.1:8031
    weight => 3
Peer
    conns => 0
    current_weight => 0
    down => true
    effective_weight => 1
    fail_timeout => 10
    fails => 0
    max_conns => 5
    max_fails => 1
    name => 127.0.0.1:8032
    weight => 1
Peer
    backup => true
    conns => 0
    current_weight => 0
    effective_weight => 1
    fail_timeout => 10
    fails => 0
    max_fails => 1
    name => 127.0.0.1:8033
    weight => 1



=== TEST 3: an added peer gets its share, a removed one nothing more
--- lua
    local dynamic = require "ngx.dynamic"
    local port = $TEST_NGINX_BACKEND_PORT
    local function share()
        local seen = {}
        for _ = 1, 12 do
            local name = ngx.location.capture("/foo").body
            seen[name] = (seen[name] or 0) + 1
        end
        return (seen.b1 or 0) .. " " .. (seen.b2 or 0) .. " " .. (seen.b3 or 0)
    end
    ngx.say(share())
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:" .. port + 1, 2))
    ngx.say(share())
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:" .. port + 2, 1, 0, 5, true))
    ngx.say(share())
    ngx.say(dynamic.set_peer_down("dynamic_foo", "127.0.0.1:" .. port + 2, false))
    ngx.say(share())
    ngx.say(dynamic.remove_peer("dynamic_foo", "127.0.0.1:" .. port))
    ngx.say(dynamic.set_peer("dynamic_foo", "127.0.0.1:" .. port + 1, { weight = 1 }))
    ngx.say(share())
    ngx.say(dynamic.remove_peer("dynamic_foo", "127.0.0.1:" .. port + 1))
    ngx.say(share())
--- response_body
12 0 0
true
4 8 0
true
4 8 0
true
3 6 3
true
true
0 6 6
true
0 0 12



=== TEST 4: a peer is described as it was added, and as it was set
--- lua
    local dynamic = require "ngx.dynamic"
    local function last()
        local peers = dynamic.describe_zone("dynamic_foo")
        local peer = peers[#peers]
        local text = {}
        for _, field in ipairs({ "name", "weight", "max_fails", "fail_timeout", "max_conns",
                                 "down", "drain", "backup" }) do
            text[#text + 1] = tostring(peer[field])
        end
        ngx.say(#peers, ": ", table.concat(text, " "))
    end
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:1"))
    last()
    ngx.say(dynamic.set_peer("dynamic_foo", "127.0.0.1:1", { weight = 65535, max_fails = 0,
        fail_timeout = 3600, max_conns = 7, drain = true }))
    last()
    ngx.say(dynamic.set_peer("dynamic_foo", "127.0.0.1:1", { max_conns = 0, drain = false, down = true }))
    last()
    ngx.say(dynamic.add_peer("dynamic_foo", "[0:0::1]:2", 3, 4, 5, false, { max_conns = 6 }))
    last()
    ngx.say(dynamic.add_peer("dynamic_foo", "unix:/tmp/none.sock", 3, { down = true }))
    last()
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:3", { backup = true }))
    last()
    ngx.say(dynamic.remove_peer("dynamic_foo", "127.0.0.1:3"))
    ngx.say(dynamic.remove_peer("dynamic_foo", "[::1]:2"))
    last()
--- response_body
true
2: 127.0.0.1:1 1 1 10 nil nil nil nil
true
2: 127.0.0.1:1 65535 0 3600 7 nil true nil
true
2: 127.0.0.1:1 65535 0 3600 nil true nil nil
true
3: [::1]:2 3 4 5 6 nil nil nil
true
4: unix:/tmp/none.sock 3 1 10 nil true nil nil
true
5: 127.0.0.1:3 1 1 10 nil nil nil true
true
true
3: unix:/tmp/none.sock 3 1 10 nil true nil nil



=== TEST 5: a backup serves when the others fail, and only then
--- lua
    local dynamic = require "ngx.dynamic"
    local port = $TEST_NGINX_BACKEND_PORT
    local function ask(n)
        local seen = {}
        for i = 1, n do
            seen[i] = ngx.location.capture("/foo").body
        end
        ngx.say(table.concat(seen, " "))
    end
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:" .. port + 1, { backup = true }))
    ask(3)
    dynamic.set_peer_down("dynamic_foo", "127.0.0.1:" .. port, true)
    ask(3)
    dynamic.set_peer_down("dynamic_foo", "127.0.0.1:" .. port, false)
    ask(3)
    ngx.say(dynamic.remove_peer("dynamic_foo", "127.0.0.1:" .. port + 1))
    ask(3)
--- response_body
true
b1 b1 b1
b2 b2 b2
b1 b1 b1
true
b1 b1 b1



=== TEST 6: a drained peer ends what it has, and gets nothing new
--- config
    location = /slow {
        content_by_lua_block { ngx.sleep(0.2) ngx.print("slow") }
    }
--- http_config eval
qq{$::upstreams
    server { listen 127.0.0.1:\$TEST_NGINX_BACKEND_PORT4;
        location / { content_by_lua_block {
            ngx.shared.zedcup_cache:incr("here", 1, 0)
            while not ngx.shared.zedcup_cache:get("go") do ngx.sleep(0.01) end
            ngx.print("slow") } } }
}
--- lua
    local dynamic = require "ngx.dynamic"
    local port = $TEST_NGINX_BACKEND_PORT
    local slow = "127.0.0.1:" .. port + 3
    dynamic.replace_peers("dynamic_foo", { slow })
    local thread = ngx.thread.spawn(function() return ngx.location.capture("/foo").body end)
    while not ngx.shared.zedcup_cache:get("here") do ngx.sleep(0.01) end
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:" .. port))
    ngx.say(dynamic.set_peer("dynamic_foo", slow, { drain = true }))
    ngx.say(ngx.location.capture("/foo").body, ngx.location.capture("/foo").body)
    ngx.say(dynamic.describe_zone("dynamic_foo")[1].conns)
    ngx.shared.zedcup_cache:set("go", true)
    ngx.say(select(2, ngx.thread.wait(thread)))
    ngx.say(dynamic.describe_zone("dynamic_foo")[1].conns)
--- response_body
true
true
b1b1
1
slow
0



=== TEST 7: replace_peers() is one change, and keeps what stays
--- lua
    local dynamic = require "ngx.dynamic"
    local port = $TEST_NGINX_BACKEND_PORT
    local function show()
        local text = {}
        for i, peer in ipairs(dynamic.describe_zone("dynamic_foo")) do
            text[i] = peer.name:match(":(%d+)$") - port .. "*" .. peer.weight
                      .. (peer.backup and "b" or "") .. (peer.accessed and "f" or "")
        end
        ngx.say(table.concat(text, " "))
    end
    dynamic.add_peer("dynamic_foo", "127.0.0.1:$TEST_NGINX_CLOSED_PORT", { weight = 9 })
    for _ = 1, 3 do ngx.location.capture("/foo") end
    show()
    ngx.say(dynamic.replace_peers("dynamic_foo", {
        "127.0.0.1:" .. port + 2,
        { peer = "127.0.0.1:$TEST_NGINX_CLOSED_PORT", weight = 4 },
        { peer = "127.0.0.1:" .. port + 1, backup = true },
    }))
    show()
    ngx.say(dynamic.replace_peers("dynamic_foo", { { peer = "127.0.0.1:" .. port + 1 } }))
    show()
    ngx.say(ngx.location.capture("/foo").body)
    ngx.say(dynamic.replace_peers("dynamic_foo", {}))
    ngx.say(dynamic.replace_peers("dynamic_foo", { "127.0.0.1:1", "127.0.0.1:01" }))
    ngx.say(dynamic.replace_peers("dynamic_foo", { { peer = "127.0.0.1:1", backup = true } }))
    ngx.say(dynamic.replace_peers("dynamic_foo", { "127.0.0.1:1", { weight = 2 } }))
    ngx.say(dynamic.replace_peers("dynamic_foo", { "127.0.0.1:1", { peer = "127.0.0.1:2", weight = 0 } }))
    ngx.say(dynamic.replace_peers("dynamic_foo", { "127.0.0.1:1", [3] = "127.0.0.1:2" }))
    ngx.say(dynamic.replace_peers("dynamic_foo"))
    show()
--- response_body
0*1 8*9f
true
8*4f 2*1 1*1b
true
1*1
b2
nilzone "dynamic_foo": list: expected 1 to 1024 peers, got none
nilzone "dynamic_foo": peer "127.0.0.1:01" is given twice
nilzone "dynamic_foo": at least one peer that is no backup is needed
nilzone "dynamic_foo": list[2]: peer: expected a string, got nil
nilzone "dynamic_foo": list[2]: "127.0.0.1:2": weight: expected a whole number 1..65535, got 0
nilzone "dynamic_foo": list: unexpected key 3 beside 1 peers
nilzone "dynamic_foo": list: expected a table, got nil
1*1
--- error_log
connect() failed
--- no_error_log
[alert]



=== TEST 8: each misuse is nil and a text, and requests are served after it
--- lua
    local dynamic = require "ngx.dynamic"
    local port = $TEST_NGINX_BACKEND_PORT
    local peer = "127.0.0.1:" .. port
    local function no(name, ...)
        local called, ok, err = pcall(dynamic[name], ...)
        if not called or ok ~= nil or type(err) ~= "string" then
            ngx.say("WRONG ", name, " ", tostring(ok), " ", tostring(err))
        end
        ngx.say((tostring(err):gsub("127.0.0.1:" .. port, "PEER")))
        local answer = ngx.location.capture("/foo")
        if answer.body ~= "b1" then
            ngx.say("NOT SERVED ", answer.status)
        end
    end
    local nasty = setmetatable({}, { __index = error, __pairs = error, __tostring = error })
    no("describe_zone")
    no("describe_zone", 42)
    no("describe_zone", "")
    no("describe_zone", "nope")
    no("describe_zone", "dynamic_foo\0x")
    no("describe_zone", "without")
    no("describe_zone", ("z"):rep(100000))
    no("add_peer")
    no("add_peer", "dynamic_foo")
    no("add_peer", "dynamic_foo", {})
    no("add_peer", "without", "127.0.0.1:1")
    no("add_peer", "dynamic_foo", "127.0.0.1")
    no("add_peer", "dynamic_foo", "127.0.0.1:0")
    no("add_peer", "dynamic_foo", "127.0.0.1:65536")
    no("add_peer", "dynamic_foo", "127.0.0.1:80/path")
    no("add_peer", "dynamic_foo", "256.0.0.1:80")
    no("add_peer", "dynamic_foo", "[::1:80")
    no("add_peer", "dynamic_foo", "unix:")
    no("add_peer", "dynamic_foo", "unix:/" .. ("x"):rep(200))
    no("add_peer", "dynamic_foo", "127.0.0.1:80\0:81")
    no("add_peer", "dynamic_foo", "127.0.0.1 :80")
    no("add_peer", "dynamic_foo", ("x"):rep(300) .. ":80")
    no("add_peer", "dynamic_foo", "a$b:80")
    no("add_peer", "dynamic_foo", peer)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", "1")
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 0)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", -1)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1.5)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 0/0)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1/0)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 2^53)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1, -1)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1, 1, -1)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1, 1, 1e300)
    no("add_peer", "dynamic_foo", "127.0.0.1:1", 1, 1, 1, "yes")
    no("add_peer", "dynamic_foo", "127.0.0.1:1", { wait = 1 })
    no("add_peer", "dynamic_foo", "127.0.0.1:1", { max_conns = -1 })
    no("add_peer", "dynamic_foo", "127.0.0.1:1", { weight = 1 }, 2)
    no("remove_peer", "dynamic_foo")
    no("remove_peer", "dynamic_foo", "127.0.0.1:1")
    no("remove_peer", "dynamic_foo", "nobody:1")
    no("remove_peer", "dynamic_foo", peer)
    no("remove_peer", "nope", peer)
    no("set_peer_down", "dynamic_foo", peer)
    no("set_peer_down", "dynamic_foo", peer, 1)
    no("set_peer_down", "dynamic_foo", "127.0.0.1:1", true)
    no("set_peer", "dynamic_foo", peer)
    no("set_peer", "dynamic_foo", peer, "down")
    no("set_peer", "dynamic_foo", peer, { weight = 0 })
    no("set_peer", "dynamic_foo", peer, { backup = true })
    no("set_peer", "dynamic_foo", peer, { [1] = 1 })
    no("replace_peers", "dynamic_foo", { nasty })
    no("replace_peers", "dynamic_foo", nasty)
    local huge = {}
    for i = 1, 1025 do huge[i] = "127.0.0.1:" .. i end
    no("replace_peers", "dynamic_foo", huge)
    ngx.say(#dynamic.describe_zone("dynamic_foo"))
--- response_body
zone: expected a string, got nil
zone: expected a string, got 42
zone: expected a string, got ""
zone "nope": no such zone
zone: expected at most 255 printable characters, got "dynamic_foo?x"
zone "without": no such zone; the upstream of that name has no "zone" directive
zone: expected at most 255 printable characters, got "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz..."
zone: expected a string, got nil
zone "dynamic_foo": peer: expected a string, got nil
zone "dynamic_foo": peer: expected a string, got table
zone "without": no such zone; the upstream of that name has no "zone" directive
zone "dynamic_foo": invalid peer "127.0.0.1": a port is required, as in "127.0.0.1:8080"
zone "dynamic_foo": invalid peer "127.0.0.1:0": invalid port
zone "dynamic_foo": invalid peer "127.0.0.1:65536": invalid port
zone "dynamic_foo": invalid peer "127.0.0.1:80/path": invalid host
zone "dynamic_foo": invalid peer "256.0.0.1:80": invalid address
zone "dynamic_foo": invalid peer "[::1:80": invalid host
zone "dynamic_foo": invalid peer "unix:": no path in the unix domain socket
zone "dynamic_foo": invalid peer "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"...: too long path in the unix domain socket
zone "dynamic_foo": peer: expected at most 255 printable characters, got "127.0.0.1:80?:81"
zone "dynamic_foo": invalid peer "127.0.0.1 :80": blanks and control characters are not allowed
zone "dynamic_foo": peer: expected at most 255 printable characters, got "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
zone "dynamic_foo": invalid peer "a$b:80": invalid host
zone "dynamic_foo": peer "PEER" is there already
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got "1"
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got 0
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got -1
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got 1.5
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got nan
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got inf
zone "dynamic_foo": peer "127.0.0.1:1": weight: expected a whole number 1..65535, got 9.007199254741e+15
zone "dynamic_foo": peer "127.0.0.1:1": max_fails: expected a whole number 0..1000000, got -1
zone "dynamic_foo": peer "127.0.0.1:1": fail_timeout: expected a whole number 0..31536000, got -1
zone "dynamic_foo": peer "127.0.0.1:1": fail_timeout: expected a whole number 0..31536000, got 1e+300
zone "dynamic_foo": peer "127.0.0.1:1": down: expected true or false, got "yes"
zone "dynamic_foo": peer "127.0.0.1:1": unknown field: "wait"
zone "dynamic_foo": peer "127.0.0.1:1": max_conns: expected a whole number 0..1000000, got -1
zone "dynamic_foo": peer "127.0.0.1:1": nothing may follow the table of fields
zone "dynamic_foo": peer: expected a string, got nil
zone "dynamic_foo": no such peer: "127.0.0.1:1"
zone "dynamic_foo": no such peer: "nobody:1"
zone "dynamic_foo": peer "PEER" is the last one and stays
zone "nope": no such zone
zone "dynamic_foo": peer "PEER": down: expected true or false, got nil
zone "dynamic_foo": peer "PEER": down: expected true or false, got 1
zone "dynamic_foo": no such peer: "127.0.0.1:1"
zone "dynamic_foo": peer "PEER": fields: expected a table, got nil
zone "dynamic_foo": peer "PEER": fields: expected a table, got "down"
zone "dynamic_foo": peer "PEER": weight: expected a whole number 1..65535, got 0
zone "dynamic_foo": peer "PEER": backup: remove the peer and add it anew
zone "dynamic_foo": peer "PEER": unknown field: 1
zone "dynamic_foo": list[1]: peer: expected a string, got nil
zone "dynamic_foo": list: expected 1 to 1024 peers, got none
zone "dynamic_foo": list: expected 1 to 1024 peers, got more
1
