# ngx.dynamic with nginx's balancing methods, with upstreams that it leaves alone,
# in all phases, and at its limits.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(1);
master_on();

$ZedcupStore::default_store = 'none';

# `method` is a line of the upstream foo
add_block_preprocessor(sub {
    my $block = shift;
    my $method = $block->method // '';
    $block->set_value('http_config', ($block->http_config // '') . <<"END") if defined $block->method;
    upstream foo {
        zone dynamic_foo 256k;
        $method
        server 127.0.0.1:\$TEST_NGINX_BACKEND_PORT;
    }
END
    $block->set_value('config', ($block->config // '') . <<'END') if !$block->must_die;
    location /foo { proxy_pass http://foo/; }
END
    $block->set_value('backends', 4) if !defined $block->backends;
});

run_tests();

__DATA__

=== TEST 1: random draws from the peers as they are, by weight
--- method: random;
--- lua
    local dynamic = require "ngx.dynamic"
    local function b(i) return "127.0.0.1:" .. $TEST_NGINX_BACKEND_PORT + i - 1 end
    local function share()
        local seen = { b1 = 0, b2 = 0, b3 = 0 }
        for _ = 1, 300 do
            local name = ngx.location.capture("/foo").body
            seen[name] = seen[name] + 1
        end
        return seen
    end
    local seen = share()
    ngx.say(seen.b1 == 300)
    dynamic.add_peer("dynamic_foo", b(2), 3)
    seen = share()
    ngx.say(seen.b1 + seen.b2 == 300 and seen.b2 > 180 and seen.b1 > 30)
    dynamic.replace_peers("dynamic_foo", { b(1), b(3) })
    seen = share()
    ngx.say(seen.b2 == 0 and seen.b1 > 90 and seen.b3 > 90)
    ngx.say(select(2, dynamic.add_peer("dynamic_foo", b(4), { backup = true })))
--- response_body eval
qq{true
true
true
zone "dynamic_foo": peer "127.0.0.1:$ENV{TEST_NGINX_BACKEND_PORT4}": the balancing method of this upstream has no backups
}



=== TEST 2: a consistent hash sends the keys of a removed peer elsewhere, and no others
--- method: hash $arg_k consistent;
--- lua
    local dynamic = require "ngx.dynamic"
    local function b(i) return "127.0.0.1:" .. $TEST_NGINX_BACKEND_PORT + i - 1 end
    local function map()
        local of = {}
        for k = 1, 60 do
            of[k] = ngx.location.capture("/foo", { args = { k = k } }).body
        end
        return of
    end
    -- the points are made anew at most every 200 ms
    local function settle(good)
        for _ = 1, 200 do
            local now = map()
            if good(now) then return map() end
            ngx.sleep(0.05)
        end
        ngx.say("not settled")
        return map()
    end
    local function has(of, name)
        local n = 0
        for _, one in ipairs(of) do n = n + (one == name and 1 or 0) end
        return n
    end
    dynamic.add_peer("dynamic_foo", b(2))
    dynamic.add_peer("dynamic_foo", b(3))
    local before = settle(function(now) return has(now, "b2") > 6 and has(now, "b3") > 6 end)
    dynamic.remove_peer("dynamic_foo", b(2))
    local after = settle(function(now) return has(now, "b2") == 0 end)
    ngx.sleep(0.3)
    after = map()
    local moved = 0
    for k = 1, 60 do
        if before[k] ~= "b2" and before[k] ~= after[k] then moved = moved + 1 end
    end
    ngx.say(moved, " moved without need")
    dynamic.add_peer("dynamic_foo", b(2))
    local again = settle(function(now) return has(now, "b2") > 6 end)
    local same = 0
    for k = 1, 60 do same = same + (again[k] == before[k] and 1 or 0) end
    ngx.say(same, " as before")
    ngx.say(select(2, dynamic.set_peer("dynamic_foo", b(2), { weight = 2047 })))
    ngx.say(dynamic.set_peer("dynamic_foo", b(2), { weight = 2046 }))
--- response_body
0 moved without need
60 as before
zone "dynamic_foo": weights of a consistent hash may be edited up to a sum of 2048, not 2049
true
--- timeout: 60



=== TEST 3: a consistent hash places an added peer as nginx would have
--- http_config
    upstream conf {
        zone dynamic_conf 256k;
        hash $arg_k consistent;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT2 weight=3;
        server unix:$TEST_NGINX_SOCKET_DIR/h.sock;
    }
    server { listen unix:$TEST_NGINX_SOCKET_DIR/h.sock; location / { return 200 "u"; } }
--- method: hash $arg_k consistent;
--- config
    location /conf { proxy_pass http://conf/; }
--- lua
    local dynamic = require "ngx.dynamic"
    dynamic.add_peer("dynamic_foo", "127.0.0.1:$TEST_NGINX_BACKEND_PORT2", 3)
    dynamic.add_peer("dynamic_foo", "unix:$TEST_NGINX_SOCKET_DIR/h.sock")
    local same, seen = 0, {}
    for k = 1, 100 do
        local args = { args = { k = k } }
        local one, two = ngx.location.capture("/foo", args).body, ngx.location.capture("/conf", args).body
        same = same + (one == two and 1 or 0)
        seen[one] = true
    end
    ngx.say(same, " ", tostring(seen.b1 and seen.b2 and seen.u))
--- response_body
100 true



=== TEST 4: hash, ip_hash and least_conn use the peers as they are
--- http_config
    upstream a { zone dynamic_a 128k; hash $arg_k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
    upstream b { zone dynamic_b 128k; ip_hash; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
    upstream c { zone dynamic_c 128k; least_conn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; keepalive 4; }
    upstream d { zone dynamic_d 128k; random two; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- config
    location /a { proxy_pass http://a/; }
    location /b { proxy_pass http://b/; }
    location /c { proxy_pass http://c/; }
    location /d { proxy_pass http://d/; }
--- method: least_conn;
--- lua
    local dynamic = require "ngx.dynamic"
    local function b(i) return "127.0.0.1:" .. $TEST_NGINX_BACKEND_PORT + i - 1 end
    for _, name in ipairs({ "a", "b", "c", "d" }) do
        local zone = "dynamic_" .. name
        local seen = {}
        local function ask(n)
            for k = 1, n do
                local answer = ngx.location.capture("/" .. name, { args = { k = k } })
                seen[answer.body] = answer.status
            end
        end
        for i = 2, 4 do assert(dynamic.add_peer(zone, b(i), i)) end
        ask(60)
        local kinds = 0
        for _ in pairs(seen) do kinds = kinds + 1 end
        for i = 1, 3 do assert(dynamic.remove_peer(zone, b(i))) end
        seen = {}
        ask(20)
        ngx.say(name, " ", name == "b" and "-" or kinds, " ", tostring(seen.b4), " ", tostring(next(seen, next(seen))))
    end
--- response_body
a 4 200 nil
b - 200 nil
c 4 200 nil
d 4 200 nil



=== TEST 5: upstreams that others balance, and zones that upstreams share, are shown but not edited
--- http_config
    upstream lua {
        zone dynamic_lua 64k;
        server 127.0.0.1:1;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
        }
        keepalive 2;
    }
    upstream one { zone dynamic_two 64k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
    upstream two { zone dynamic_two; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT2; }
--- config
    location = /lua { proxy_pass http://lua/; }
    location = /one { proxy_pass http://one/; }
    location = /two { proxy_pass http://two/; }
--- method: least_conn;
--- lua
    local dynamic = require "ngx.dynamic"
    ngx.say(table.concat(dynamic.list_zones(), " "))
    ngx.say(#dynamic.describe_zone("dynamic_lua"), " ", #dynamic.describe_zone("dynamic_two"))
    ngx.say(select(2, dynamic.add_peer("dynamic_lua", "127.0.0.1:2")))
    ngx.say(select(2, dynamic.add_peer("dynamic_two", "127.0.0.1:2")))
    ngx.say(ngx.location.capture("/lua").body, ngx.location.capture("/one").body, ngx.location.capture("/two").body)
--- response_body
dynamic_lua dynamic_two dynamic_foo
1 2
zone "dynamic_lua" cannot be edited: its upstream is not balanced by nginx itself
zone "dynamic_two" cannot be edited: several upstreams share it
b1b1b2



=== TEST 6: a zone that is full says its size, keeps what it has, and takes more after a removal
--- http_config
    upstream foo { zone dynamic_foo 32k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- lua
    local dynamic = require "ngx.dynamic"
    local usage = require("zedcup.ffi_peers").usage
    local count, ok, err = 0
    repeat
        ok, err = dynamic.add_peer("dynamic_foo", "127.0.0.1:" .. count + 1, { down = true })
        count = count + 1
    until not ok
    ngx.say(err:gsub("%d+\"", "N\""), "")
    ngx.say(count > 10, " ", #dynamic.describe_zone("dynamic_foo") == count)
    ngx.say(ngx.location.capture("/foo").body)
    -- a list that replaces as many needs room for what is new only
    local same = {}
    for i, peer in ipairs(dynamic.describe_zone("dynamic_foo")) do same[i] = peer.name end
    ngx.say(dynamic.replace_peers("dynamic_foo", same))
    local before = usage("dynamic_foo").used
    ngx.say((dynamic.replace_peers("dynamic_foo", { "127.0.0.1:6001", "127.0.0.1:6002", "127.0.0.1:6003",
        "127.0.0.1:6004", "127.0.0.1:6005", "127.0.0.1:6006", "127.0.0.1:6007", "127.0.0.1:6008",
        "127.0.0.1:6009", "127.0.0.1:6010", "127.0.0.1:6011", "127.0.0.1:6012", "127.0.0.1:6013" })))
    ngx.say(usage("dynamic_foo").used == before, " ", #dynamic.describe_zone("dynamic_foo") == count)
    ngx.say(dynamic.remove_peer("dynamic_foo", "127.0.0.1:1"))
    ngx.say(dynamic.add_peer("dynamic_foo", "127.0.0.1:1"))
--- response_body
zone "dynamic_foo": it is too small for peer "127.0.0.1:N": its size is 32k
true true
b1
true
nil
true true
true
true



=== TEST 7: up to 1024 peers, added under a request that began with one
--- config
    location = /conns { content_by_lua_block { ngx.say(require("ngx.dynamic").describe_zone("dynamic_foo")[1].conns) } }
--- http_config
    upstream foo { zone dynamic_foo 2m; server 127.0.0.1:$TEST_NGINX_CLOSED_PORT; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_CLOSED_PORT; }
    # the third try comes when there are more than 64 peers
    server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        location / { content_by_lua_block {
            local dynamic = require "ngx.dynamic"
            for i = 1, 1020 do assert(dynamic.add_peer("dynamic_foo", "127.0.0.2:" .. i, { down = true })) end
            assert(dynamic.add_peer("dynamic_foo", "127.0.0.1:$TEST_NGINX_BACKEND_PORT"))
            dynamic.remove_peer("dynamic_foo", "127.0.0.1:$TEST_NGINX_CLOSED_PORT")
            dynamic.remove_peer("dynamic_foo", "127.0.0.2:$TEST_NGINX_CLOSED_PORT")
            assert(dynamic.add_peer("dynamic_foo", "127.0.0.2:2002", { down = true }))
            ngx.log(ngx.NOTICE, "said: ", select(2, dynamic.add_peer("dynamic_foo", "127.0.0.2:2000")) or "added")
            ngx.log(ngx.NOTICE, "said: ", select(2, dynamic.add_peer("dynamic_foo", "127.0.0.2:2001")) or "added")
            ngx.exit(444)
        } } }
--- lua
    ngx.say(ngx.location.capture("/foo").body)
    ngx.say(#require("ngx.dynamic").describe_zone("dynamic_foo"))
--- response_body
b1
1024
--- error_log
said: added
said: zone "dynamic_foo": no room for peer "127.0.0.2:2001": there are 1024 already
--- no_error_log
[alert]



=== TEST 8: peers that change while a request has tried some: it gets one of the others, by every method
--- http_config
    upstream m1 { zone m1 128k; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; }
    upstream m2 { zone m2 128k; least_conn; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; keepalive 4; }
    upstream m3 { zone m3 128k; hash $arg_k; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; }
    upstream m4 { zone m4 128k; hash $arg_k consistent; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; keepalive 4; }
    upstream m5 { zone m5 128k; ip_hash; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; }
    upstream m6 { zone m6 128k; random; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; keepalive 4; }
    upstream m7 { zone m7 128k; random two; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; }
    upstream m8 { zone m8 128k; server 127.0.0.1:$TEST_NGINX_EXTRA_PORT; server 127.0.0.2:$TEST_NGINX_EXTRA_PORT; keepalive 4; }
    # whichever is asked first changes the peers, itself among them, and hangs up
    server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; listen 127.0.0.2:$TEST_NGINX_EXTRA_PORT;
        location / { content_by_lua_block {
            assert(require("ngx.dynamic").replace_peers(ngx.var.http_x_zone, {
                "127.0.0.1:$TEST_NGINX_BACKEND_PORT", ngx.var.server_addr .. ":$TEST_NGINX_EXTRA_PORT" }))
            ngx.exit(444)
        } } }
--- config
    location ~ /(m[1-8])$ { proxy_pass http://$1/; proxy_set_header X-Zone $1; proxy_http_version 1.1; proxy_set_header Connection ""; }
--- method: least_conn;
--- lua
    local dynamic = require "ngx.dynamic"
    for i = 1, 8 do
        local zone = "m" .. i
        for k = 1, 8 do
            assert(dynamic.replace_peers(zone, { "127.0.0.1:$TEST_NGINX_EXTRA_PORT", "127.0.0.2:$TEST_NGINX_EXTRA_PORT" }))
            local answer = ngx.location.capture("/" .. zone, { args = { k = k } })
            if answer.body ~= "b1" then
                ngx.say(zone, " ", k, ": ", answer.status)
            end
        end
        ngx.say(zone, " conns ", dynamic.describe_zone(zone)[1].conns)
    end
--- response_body
m1 conns 0
m2 conns 0
m3 conns 0
m4 conns 0
m5 conns 0
m6 conns 0
m7 conns 0
m8 conns 0
--- no_error_log
[alert]



=== TEST 9: it works in every phase but init
--- method: least_conn;
--- http_config
    init_by_lua_block {
        require "resty.core"
        local dynamic = require "ngx.dynamic"
        in_init = { select(2, dynamic.add_peer("dynamic_foo", "127.0.0.1:1")), select(2, dynamic.list_zones()) }
    }
    init_worker_by_lua_block {
        local dynamic = require "ngx.dynamic"
        phases = {}
        function phase()
            local name = ngx.get_phase()
            if not phases[name] then
                phases[name] = true
                phases[#phases + 1] = name
                assert(dynamic.add_peer("dynamic_foo", "127.0.0.3:" .. #phases, { down = true }))
                assert(dynamic.set_peer_down("dynamic_foo", "127.0.0.3:" .. #phases, true))
            end
        end
        phase()
        assert(ngx.timer.at(0, phase))
    }
    upstream bar { server 0.0.0.1; balancer_by_lua_block { phase() require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_BACKEND_PORT) } }
--- config
    location = /all {
        set_by_lua_block $x { phase() return "" }
        rewrite_by_lua_block { phase() }
        access_by_lua_block { phase() }
        proxy_pass http://bar/;
        header_filter_by_lua_block { phase() }
        body_filter_by_lua_block { phase() }
        log_by_lua_block { phase() }
    }
--- lua
    phase()
    ngx.say(#require("ngx.dynamic").describe_zone("dynamic_foo") - 1, " ", #phases)
    table.sort(phases)
    ngx.say(table.concat(phases, " "))
    ngx.say(table.concat(in_init, "\n"))
--- request eval
['GET /all', 'GET /t']
--- response_body eval
['b1', '10 10
access balancer body_filter content header_filter init_worker log rewrite set timer
zone "dynamic_foo": there is none before the workers start
there are no zones before the workers start
']



=== TEST 10: what a killed worker held is given back; nothing is reaped twice
--- http_config
    server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { content_by_lua_block { ngx.sleep(60) } } }
--- config
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    location = /state { content_by_lua_block {
        local conns, dynamic = {}, require "ngx.dynamic"
        for i, peer in ipairs(dynamic.describe_zone("dynamic_foo")) do conns[i] = peer.conns end
        ngx.print(table.concat(conns, " "), " / ", require("zedcup.ffi_peers").usage("dynamic_foo").retired)
    } }
    location = /swap { content_by_lua_block {
        local dynamic = require "ngx.dynamic"
        ngx.print(tostring(dynamic.replace_peers("dynamic_foo", { "127.0.0.1:$TEST_NGINX_EXTRA_PORT", "127.0.0.1:$TEST_NGINX_BACKEND_PORT2" })))
    } }
    location = /out { content_by_lua_block {
        ngx.print(tostring(require("ngx.dynamic").remove_peer("dynamic_foo", "127.0.0.1:$TEST_NGINX_EXTRA_PORT")))
    } }
--- method: keepalive 2;
--- script
use IO::Socket::INET;
is(body_of('/swap'), 'true', 'a slow peer');
my @held = map {
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ENV{TEST_NGINX_SERVER_PORT});
    print $s "GET /foo HTTP/1.0\r\n\r\n"; $s } 1 .. 4;
wait_for('two are held', 20, sub { body_of('/state') eq '2 0 / 0' });
is(body_of('/out'), 'true', 'removed');
# from 1.27.3 on nginx keeps it, and zedcup does not know
is(body_of('/state'), nginx_from('1.27.3') ? '0 / 0' : '0 / 1', 'held still');
my ($pid) = worker_pids();
kill KILL => $pid;
wait_for('given back', 20, sub { body_of('/state') eq '0 / 0' });
is(body_of('/foo'), 'b2', 'it serves');
--- no_error_log
[emerg]
