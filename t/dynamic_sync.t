# zedcup.sync_zone(): a zone's peers follow an instance's hosts.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(2);
master_on();

our $config = <<'END';
    location = /foo { proxy_pass http://foo/; }
    location = /show {
        content_by_lua_block {
            local text = {}
            for i, peer in ipairs(require("ngx.dynamic").describe_zone("dynamic_foo")) do
                local port = peer.name:match(":(%d+)$")
                text[i] = "b" .. port - $TEST_NGINX_BACKEND_PORT + 1
                          .. (peer.weight ~= 1 and "*" .. peer.weight or "")
                          .. (peer.down and " down" or "") .. (peer.backup and " backup" or "")
            end
            ngx.say(table.concat(text, ", "))
        }
    }
    # pools by |, hosts by comma: 2*5- is b2 with weight 5, not up
    location = /write {
        content_by_lua_block {
            local pools = {}
            for text in ngx.var.arg_is:gmatch("[^|]+") do
                local hosts = {}
                for n, weight, down in text:gmatch("(%d)%*?(%d*)(-?)") do
                    hosts[#hosts + 1] = { host = "127.0.0.1", weight = tonumber(weight),
                        port = $TEST_NGINX_BACKEND_PORT + n - 1, up = down == "" }
                end
                pools[#pools + 1] = { hosts = hosts }
            end
            local ok, err = require("zedcup").configure_instance("web", { pools = pools })
            ngx.say(ok and "ok" or err)
        }
    }
    location = /remove {
        content_by_lua_block { ngx.say(tostring((require("zedcup").remove_instance("web")))) }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    my $method = $block->method // '';
    $block->set_value('http_config', <<"END");
    upstream foo {
        zone dynamic_foo 64k;
        $method
        server 127.0.0.1:\$TEST_NGINX_CLOSED_PORT;
    }
    upstream other { zone dynamic_other 64k; server 127.0.0.1:1; }
END
    $block->set_value('config', $config . ($block->config // ''));
    $block->set_value('backends', 4);
    $block->set_value('init_worker', <<'END') if !defined $block->init_worker;
    assert(require("zedcup").sync_zone("dynamic_foo", "web"))
END
    $block->set_value('no_error_log', "[alert]\n") if !defined $block->no_error_log;
});

sub shows { my $want = shift; wait_for("it shows $want", 20, sub { body_of('/show') eq $want }) }

run_tests();

__DATA__

=== TEST 1: hosts, weights and who is down come from the instance; later pools are backups
--- script
wait_for('told of', 5, sub { error_log() =~ /zone "dynamic_foo" stays as it is, instance "web": no such instance/ });
is(body_of('/write?is=1,2*3'), 'ok', 'written');
shows('b1, b2*3');
is(body_of('/write?is=1-,2*3'), 'ok', 'one is down');
shows('b1 down, b2*3');
is(body_of('/foo'), 'b2', 'served by the other');
is(body_of('/write?is=2*3,3|4,2'), 'ok', 'a second pool');
shows('b2*3, b3, b4 backup');
is(body_of('/write?is=2-,3-|4'), 'ok', 'the first pool is down');
shows('b2 down, b3 down, b4 backup');
is(body_of('/foo'), 'b4', 'served by the backup');



=== TEST 2: the last good peers stay when the instance goes
--- script
body_of('/write?is=1,2');
shows('b1, b2');
my $told = sub { my @all = error_log() =~ /stays as it is/g; scalar @all };
my $before = $told->();
is(body_of('/remove'), 'true', 'removed');
wait_for('told of', 5, sub { $told->() > $before });
is(body_of('/show'), 'b1, b2', 'as they were');
body_of('/write?is=3');
shows('b3');



=== TEST 3: a new leader goes on, also after a reload, and mends what was edited
--- config
    location = /spoil {
        content_by_lua_block { ngx.say(require("ngx.dynamic").replace_peers("dynamic_foo", { "127.0.0.1:$TEST_NGINX_BACKEND_PORT4" })) }
    }
--- script
body_of('/write?is=1,2');
shows('b1, b2');
kill KILL => leader_pid();
body_of('/write?is=1,2,3');
shows('b1, b2, b3');
reload();
is(body_of('/show'), 'b1, b2, b3', 'at once after a reload');
body_of('/spoil');
body_of('/write?is=2');
shows('b2');
--- no_error_log
[emerg]



=== TEST 4: a method without backups gets the first pool only
--- method: ip_hash;
--- script
body_of('/write?is=1,2|3');
shows('b1, b2');



=== TEST 5: misuse is nil and a text
--- init_worker
    local zedcup = require "zedcup"
    for _, call in ipairs({ {}, { "dynamic_foo" }, { "nope", "web" }, { 1, 2 }, { "dynamic_foo", "" } }) do
        local ok, err = zedcup.sync_zone(call[1], call[2])
        ngx.log(ngx.NOTICE, "said: ", tostring(ok), " ", err)
    end
    assert(zedcup.sync_zone("dynamic_foo", "web"))
    assert(zedcup.sync_zone("dynamic_foo", "web"))
    ngx.log(ngx.NOTICE, "said: ", select(2, zedcup.sync_zone("dynamic_foo", "web2")))
--- config
    location = /late {
        content_by_lua_block { ngx.say(select(2, require("zedcup").sync_zone("dynamic_foo", "web"))) }
    }
--- script
is(body_of('/late'), 'zone "dynamic_foo": call sync_zone() in init_worker_by_lua, so that every worker knows of it', 'late');
my $log = error_log(); # a worker that answers has said it all
like($log, qr/said: nil \Q$_\E/, $_) for 'zone: expected a name, got nil', 'instance: expected a name, got nil',
    'zone "nope": no such zone', 'zone: expected a name, got number', 'instance: expected a name, got an empty string';
like($log, qr/said: zone "dynamic_foo" follows instance "web" already/, 'twice');
