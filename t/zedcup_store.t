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

=== TEST 1: Consul is away at the start: the worker starts, says why, and serves as soon as it is there
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



=== TEST 2: Consul crashes and comes back: requests go on, changes come
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



=== TEST 3: Consul hangs: requests go on, writes end with an error
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
