# Health checks and sessions in a real nginx: what is asked of hosts, and what
# the store says about it.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'consul';
run_tests();

__DATA__

=== TEST 1: a host is checked as configured, and its check is noted
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
    location = /_health {
        content_by_lua_block {
            ngx.shared.zedcup_cache:set("seen", ngx.req.get_method() .. " " .. ngx.var.http_host
                .. " " .. ngx.var.http_user_agent)
            ngx.say("fine")
        }
    }
}
--- lua
assert(zedcup.configure_instance("web", {
    healthcheck = { interval = 1, path = "/_health", body = "~^fine$", headers = { Host = "www.example.com" } },
    pools = { { hosts = { { host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } } } },
}))
f.wait(10, function() return f.stored()["state/web/1/1/last_check"] end)
f.say(ngx.shared.zedcup_cache:get("seen"))
f.say(math.abs(ngx.time() - f.stored()["state/web/1/1/last_check"]) < 15)
local stored = f.stored(true)
f.say((stored["locks/healthcheck"]:gsub("%d+", "PID")))
f.say((stored["locks/revive"]:gsub("%d+", "PID")))
for key, value in pairs(stored) do
    if key:find("^registry/") then
        f.say(require("cjson").decode(value).pid == tonumber(stored["locks/revive"]:match("%d+")))
    end
end
--- response_body
GET www.example.com zedcup/0.1.0 HTTP check
true
locked: PID
locked: PID
true



=== TEST 2: a host that fails is named in the log with the reason
--- lua
assert(zedcup.configure_instance("web", {
    healthcheck = { interval = 1 },
    pools = { { hosts = { { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT } } } },
}))
f.wait(10, function() return f.stored()["state/web/1/1/last_check"] end)
f.say("noted")
--- response_body
noted
--- error_log
web: pools[1].hosts[1] fails its health check: 127.0.0.1:
--- no_error_log
[alert]



=== TEST 3: bad health checks are refused by their key
--- lua
local function try(check)
    f.say(zedcup.configure_instance("web", { pools = { { healthcheck = check, hosts = {} } } }))
end
try({ interval = 0 })
try({ type = "udp" })
try({ path = "x" })
try({ body = "~(" })
try({ headers = { ["A b"] = "c" } })
try({ interval = 3 })
--- response_body
nil pools[1].healthcheck.interval: expected 1..86400, got "0"
nil pools[1].healthcheck.type: expected http, tcp or grpc, got "udp"
nil pools[1].healthcheck.path: expected a path that begins with /, without spaces and #, got "x"
nil pools[1].healthcheck.body: missing closing parenthesis at offset 1
nil pools[1].healthcheck.headers["A b"]: not usable as a header
true



=== TEST 4: a node that quits leaves nothing behind in the store
--- config
location = /up { return 200; }
--- script
wait_for('registered', 10, sub { grep { /^registry\// } keys %{ consul_keys() } });
kill QUIT => master_pid();
wait_for('gone', 2, sub { !grep { /^(?:registry|locks)\// } keys %{ consul_keys() } });
--- no_error_log
[alert]
