# syncer.sync_zone(): the zone of one of nginx's own upstreams follows a service.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(2);
master_on();

our $upstream = <<'END';
upstream app { zone app 128k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
END

our $config = <<'END';
location = /app { proxy_pass http://app/; }
location = /zone {
    content_by_lua_block {
        local text = {}
        for i, peer in ipairs(require("ngx.dynamic").describe_zone("app")) do
            text[i] = peer.name .. "*" .. peer.weight .. (peer.down and " down" or "")
        end
        ngx.say(table.concat(text, ", "))
    }
}
location = /check {
    content_by_lua_block {
        local key = "checkdown:web:" .. ngx.var.arg_p
        ngx.say(tostring(ngx.shared.lreu:set(key, ngx.var.arg_out and true or nil)))
    }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', $upstream . ($block->http_config // ''));
    $block->set_value('config', $config . ($block->config // ''));
});

sub zone_is {
    my ($name, $wanted) = @_;
    wait_for($name, 5, sub { body_of('/zone') eq $wanted })
        or Test::More::diag("it is: " . body_of('/zone'));
}

run_tests();

__DATA__

=== TEST 1: peers, weights and states of a service become the zone's, also after the leader's death and a reload
--- etcd: beside
--- syncer
--- backends: 3
--- init_worker
assert(require("lreu.syncer").sync_zone("app", "web"))
--- script
my ($b1, $b2, $b3) = map { "127.0.0.1:$_" } @ENV{qw(TEST_NGINX_BACKEND_PORT TEST_NGINX_BACKEND_PORT2 TEST_NGINX_BACKEND_PORT3)};
is(body_of('/zone'), "$b1*1", 'as the file says, before there is a service');
etcd_put("web/$b2", '{"weight": 3}');
zone_is('one peer', "$b2*3");
is(body_of('/app'), 'b2', 'it is served');
etcd_put("web/$b3", '');
zone_is('another', "$b2*3, $b3*1");
etcd_put("web/$b2", '{"weight": 2, "status": "down"}');
zone_is('one is down', "$b2*2 down, $b3*1");
is(body_of('/app'), 'b3', 'the other is served');
etcd_put("web/$b2", '{"weight": 2}');
zone_is('and up', "$b2*2, $b3*1");
body_of("/check?p=$b3&out=1");
zone_is('a check has one out', "$b2*2, $b3*1 down");
body_of("/check?p=$b2&out=1");
zone_is('all out: nobody is', "$b2*2, $b3*1");
body_of("/check?p=$_") for $b2, $b3;
kill KILL => feeder_pid();
etcd_del("web/$b2");
zone_is('after the death of the worker that feeds', "$b3*1");
reload();
etcd_put("web/$b1", '{"weight": 7}');
zone_is('after a reload', "$b3*1, $b1*7");
etcd_del("web/$b1");
zone_is('one is gone', "$b3*1");
etcd_del("web/$b3");
wait_for('a service that is gone', 5, sub { error_log() =~ /zone "app" stays as it is, service "web": no such service/ });
is(body_of('/app'), 'b3', 'changes nothing');
--- error_log
stays as it is
--- no_error_log
[emerg]



=== TEST 2: what cannot be is refused by name
--- etcd: beside
--- syncer
--- lua
local syncer = require("lreu.syncer")
ngx.say(select(2, syncer.sync_zone("none", "web")))
ngx.say(select(2, syncer.sync_zone("app")))
ngx.say(select(2, syncer.sync_zone(nil, "web")))
ngx.say(select(2, syncer.sync_zone("app", "web", ngx.shared.log)))
ngx.say(tostring(syncer.sync_zone("app", "web")))
ngx.say(select(2, syncer.sync_zone("app", "other")))
--- request
GET /t
--- response_body_like
^.*none.*
service: expected a string, got nil
.*zone.*
no syncer of this dictionary in this worker
true
zone "app" follows service "web" already
--- error_log
syncer.sync_zone
