# Hosts that fail on a node of several workers: all of them leave one out at once,
# with a store and without; who is told of it.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(4);
worker_connections(512);
master_on();

# Each worker says how many hosts it failed to reach in four requests.
our $locations = <<'END';
    location = /failed {
        content_by_lua_block {
            local f, zedcup = require("zedcup_fixture"), require("zedcup")
            local failed = 0
            for _ = 1, 4 do
                f.forget()
                local handler = zedcup.create_handler("web")
                handler:bind("host_connect_error", function() failed = failed + 1 end)
                f.ask(handler)
            end
            ngx.say(ngx.worker.pid(), " ", failed)
        }
    }
    location = /hosts {
        content_by_lua_block {
            local handler = require("zedcup").create_handler("web")
            ngx.say(ngx.worker.pid(), " ", handler and #handler:config().pools[1].hosts)
        }
    }
END

# Events go into the log: that of the callback's scope, and the worker's pid.
our $bind = <<'END';
    for _, scope in ipairs({ "cluster", "node", "worker" }) do
        for _, event in ipairs({ "host_down", "host_up" }) do
            require("zedcup").bind(event, function(instance, data)
                ngx.log(ngx.NOTICE, "told: ", event, " ", scope, " ", data.host._idx)
            end, { scope = scope })
        end
    end
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('backends', 1);
    $block->set_value('init_worker', $bind);
    my $own = $block->http_config // '';
    $block->set_value('http_config', "$own
        server { listen 127.0.0.1:\$TEST_NGINX_EXTRA_PORT reuseport; $locations }\n");
    my $pool = $block->pool // '';
    my $more = $block->instance // '';
    $block->set_value('config', $locations . <<"END");
    location = /write {
        content_by_lua_block {
            local f, zedcup = require("zedcup_fixture"), require("zedcup")
            local ok, err = zedcup.configure_instance("web", { $more pools = { { $pool
                hosts = { { host = "127.0.0.1", port = \$TEST_NGINX_CLOSED_PORT }, f.hosts(1)[1] } } } })
            ngx.say(ok and "ok" or err)
        }
    }
    location = /up {
        content_by_lua_block {
            local handler = require("zedcup").create_handler("web")
            ngx.say(tostring(handler:set_host_up(handler:config().pools[1].hosts[1])))
        }
    }
END
    $block->set_value('no_error_log', "[alert]\n[emerg]\n")
        if !defined $block->no_error_log;
});

# How often an event was told, for each scope.
sub told {
    my %count = (cluster => 0, node => 0, worker => 0);
    my $event = shift;
    my $log = error_log();
    $count{$1}++ while $log =~ /told: $event (\w+) 1/g;
    return "$count{cluster} $count{node} $count{worker}";
}

sub everywhere { # what all workers answer, or ''
    my $all = each_worker('/hosts') or return '';
    return join ' ', sort { $a cmp $b } values %$all;
}

run_tests();

__DATA__

=== TEST 1: one worker's errors take the host out everywhere, and it is told once
--- store: consul
--- script
is(body_of('/write'), 'ok', 'written');
wait_for('all workers follow', 5, sub { everywhere() eq '2 2 2 2' });
like(body_of('/failed'), qr/ [0-3]$/, 'one worker fails') for 1 .. 2;
wait_for('the host is down in the store', 5, sub {
    (consul_keys()->{'instances/web/pools/1/hosts/1/up'} // '') eq 'false' });
wait_for('told', 5, sub { told('host_down') eq '1 1 4' });
my $all = each_worker('/failed');
is(join(' ', values %$all), '0 0 0 0', 'nobody tries it');
is(body_of('/up'), 'true', 'brought back');
wait_for('told', 5, sub { told('host_up') eq '1 1 4' });
is(told('host_down'), '1 1 4', 'and no more');



=== TEST 2: with the store away the node leaves the host out all the same, until error_timeout
--- store: consul
--- pool: error_timeout = 2,
--- script
is(body_of('/write'), 'ok', 'written');
wait_for('all workers follow', 5, sub { everywhere() eq '2 2 2 2' });
consul_stop();
my $failed = 0;
wait_for('the host is out', 5, sub { body_of('/failed') =~ / 0$/ });
my $all = each_worker('/failed');
is(join(' ', values %$all), '0 0 0 0', 'everywhere');
wait_for('told as this node\'s own', 10, sub { told('host_down') eq '1 1 4' });
wait_for('and back', 10, sub { told('host_up') eq '1 1 4' });
consul_start();
ok(!defined consul_keys()->{'instances/web/pools/1/hosts/1/up'}, 'the store knows nothing');
--- error_log
errors could not be written



=== TEST 3: a killed and a reloaded worker leave the host out from the start
--- store: embedded
--- instance: persist_errors = false,
--- script
is(body_of('/write'), 'ok', 'written');
wait_for('all workers follow', 5, sub { everywhere() eq '2 2 2 2' });
wait_for('the host is out', 5, sub { body_of('/failed') =~ / 0$/ });
wait_for('told', 5, sub { told('host_down') eq '1 1 4' });
kill KILL => (worker_pids())[0];
wait_for('replaced', 5, sub { worker_pids() == 4 });
my $all;
wait_for('all answer', 5, sub { $all = each_worker('/failed') });
is(join(' ', values %$all), '0 0 0 0', 'nobody tries it');
reload();
wait_for('all answer', 5, sub { $all = each_worker('/failed') });
is(join(' ', values %$all), '0 0 0 0', 'nor after a reload');
is(told('host_down'), '1 1 4', 'and it is not told again');
--- no_error_log
[emerg]



=== TEST 4: a worker that quits with errors on their way still takes the host down
--- store: consul
--- script
is(body_of('/write'), 'ok', 'written');
wait_for('all workers follow', 5, sub { everywhere() eq '2 2 2 2' });
my $master = master_pid();
consul_freeze(1);
wait_for('the host is out', 5, sub { body_of('/failed') =~ / 0$/ });
kill QUIT => $master;
consul_freeze(0);
wait_for('told', 10, sub { told('host_down') =~ /^1 / });
is(consul_keys()->{'instances/web/pools/1/hosts/1/up'}, 'false', 'and written');
wait_for('ended', 15, sub { !kill 0, $master });
