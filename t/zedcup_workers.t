# Several workers: all follow what one wrote; leaders, changed stores, killed workers
# and a store that is away; and the zone that they share.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(4);
worker_connections(512);
master_on();

our $backends = <<'END';
    location = /who {
        content_by_lua_block {
            local handler, err = require("zedcup").create_handler("web")
            local body = handler and require("zedcup_fixture").ask(handler)
            ngx.say(ngx.worker.pid(), " ", body or err)
        }
    }
    location = /list {
        content_by_lua_block {
            local list = require("zedcup").instance_list()
            ngx.say(ngx.worker.pid(), " ", table.concat(list, ","), " ", require("zedcup").config().session_ttl)
        }
    }
    # /write?n=2: the first two backends; first=3: from the third on
    location = /write {
        content_by_lua_block {
            local f, zedcup = require("zedcup_fixture"), require("zedcup")
            local hosts = f.hosts(4)
            local wanted = {}
            for i = 1, tonumber(ngx.var.arg_n) do
                wanted[i] = hosts[i - 1 + tonumber(ngx.var.arg_first or 1)]
            end
            if ngx.var.arg_after then ngx.sleep(tonumber(ngx.var.arg_after)) end
            local ok, err = zedcup.configure_instance(ngx.var.arg_name or "web", { pools = { { hosts = wanted } } })
            ngx.say(ngx.worker.pid(), " ", ok and "ok" or err)
        }
    }
    location = /remove {
        content_by_lua_block {
            local ok, err = require("zedcup").remove_instance("web")
            ngx.say(ngx.worker.pid(), " ", ok and "ok" or err)
        }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    $block->set_value('backends', 4);
    my $own = $block->http_config // '';
    $block->set_value('http_config', "$own
        server { listen 127.0.0.1:\$TEST_NGINX_EXTRA_PORT reuseport; $backends }\n");
    $block->set_value('config', ($block->config // '') . $backends);
    $block->set_value('no_error_log', "[alert]\n[emerg]\n")
        if !defined $block->no_error_log;
});

# true once every worker answers that
sub all_say {
    my ($path, $wanted) = @_;
    my $seen = each_worker($path) or return 0;
    return !grep { !/$wanted/ } values %$seen;
}

run_tests();

__DATA__

=== TEST 1: all workers follow what one of them wrote
--- script
like(body_of('/write?n=1'), qr/ ok$/, 'written');
wait_for('every worker serves it', 5, sub { all_say('/who', qr/^b1$/) });
is(scalar keys %{ each_worker('/who') }, 4, 'four of them');
like(body_of('/write?n=1&first=2'), qr/ ok$/, 'rewritten');
wait_for('every worker follows', 5, sub { all_say('/who', qr/^b2$/) });
like(body_of('/write?n=1&name=api'), qr/ ok$/, 'another one');
wait_for('every worker lists it', 5, sub { all_say('/list', qr/^api,web 30$/) });
like(body_of('/remove'), qr/ ok$/, 'removed');
wait_for('gone in every worker', 5, sub { all_say('/who', qr/^no such instance: web$/) });



=== TEST 2: every worker can write, at the same time, to one SQLite file
--- config
location = /many {
    content_by_lua_block {
        local http = require("zedcup.http")
        local threads, pids, bad = {}, {}, 0
        for i = 1, 40 do
            threads[i] = ngx.thread.spawn(function()
                local res, err = http.new():request_uri("http://127.0.0.1:$TEST_NGINX_EXTRA_PORT/write?n="
                    .. i % 4 + 1 .. "&name=i" .. i % 5, { keepalive = false })
                return res and res.body or err
            end)
        end
        for i = 1, 40 do
            local _, text = ngx.thread.wait(threads[i])
            local pid, ok = text:match("^(%d+) (.*)\n$")
            if ok ~= "ok" then ngx.say(text) bad = bad + 1 else pids[pid] = true end
        end
        local count = 0
        for _ in pairs(pids) do count = count + 1 end
        ngx.say(bad, " ", count > 1)
    }
}
--- script
is(body_of('/many'), '0 true', 'all written');
wait_for('every worker has them', 5, sub { all_say('/list', qr/^i0,i1,i2,i3,i4 /) });



=== TEST 3: the leader is killed: another takes over and changes keep coming
--- store: consul
--- script
like(body_of('/write?n=1'), qr/ ok$/, 'written');
wait_for('every worker serves it', 5, sub { all_say('/who', qr/^b1$/) });
for my $round (2 .. 4) {
    my $leader = leader_pid();
    my $begun = Time::HiRes::time();
    kill KILL => $leader;
    wait_for("round $round: another leads", 5, sub { leader_pid() != $leader });
    my $took = Time::HiRes::time() - $begun;
    cmp_ok($took, '<', 1.5, "soon");
    consul_put('instances/web/pools/1/hosts/1/port', $TEST_NGINX_BACKEND_PORT + $round - 1);
    wait_for('all follow, the respawned one as well', 5, sub { all_say('/who', qr/^b$round$/) });
    like(body_of('/write?n=1'), qr/ ok$/, 'and can write');
}
--- error_log
[alert]
exited on signal 9
--- no_error_log
[emerg]



=== TEST 4: a reload to another prefix, or to no store: nothing of the old one is served
--- store: consul
--- script
like(body_of('/write?n=1'), qr/ ok$/, 'written');
wait_for('every worker serves it', 5, sub { all_say('/who', qr/^b1$/) });
edit_conf(sub { s{(prefix = "zedcup-test/t\d+)", consul}{$1-other", consul} or die });
reload();
wait_for('another prefix is empty', 5, sub { all_say('/who', qr/^no such instance: web$/) });
edit_conf(sub { s{(zedcup-test/t\d+)-other", consul}{$1", consul} or die });
reload();
wait_for('and back', 5, sub { all_say('/who', qr/^b1$/) });
edit_conf(sub { s{host = "127.0.0.1", port = \d+}{host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT} or die });
reload();
for (1 .. 3) {
    my (undef, $body) = get('/who');
    like($body, qr/^\d+ the store has not been read yet: /, 'no store: said so');
}
edit_conf(sub { s{port = $TEST_NGINX_CLOSED_PORT}{port = $TEST_NGINX_CONSUL_PORT} or die });
reload();
wait_for('and back', 5, sub { all_say('/who', qr/^b1$/) });



=== TEST 5: a request that outlives a reload finishes, and can still write
--- store: consul
--- script
like(body_of('/write?n=1'), qr/ ok$/, 'written');
pipe(my $in, my $out) or die;
my $pid = fork() // die;
if (!$pid) {
    my (undef, $body) = get('/write?n=1&first=2&after=1');
    syswrite $out, $body;
    POSIX::_exit(0);
}
close $out;
my ($old) = worker_pids();
Time::HiRes::sleep(0.1); # let it begin; where it has not, the new workers write
kill HUP => master_pid();
my $answer = <$in>;
waitpid $pid, 0;
like($answer, qr/^\d+ ok$/, 'it wrote');
wait_for('all have it', 5, sub { all_say('/who', qr/^b2$/) });
wait_for('and the old workers leave', 5, sub { 4 == worker_pids() });



=== TEST 6: a zone that is too small is an error with the size; what served stays
--- main_config
worker_rlimit_nofile 4096;
--- http_config
zedcup_zone 64k;
--- config
location = /large {
    content_by_lua_block {
        local f, zedcup = require("zedcup_fixture"), require("zedcup")
        local hosts = f.hosts(1)
        hosts[1].note = ("x"):rep(100000)
        local ok, err = zedcup.configure_instance("web", { pools = { { hosts = hosts } } })
        ngx.say(ok and "ok" or err)
    }
}
--- script
like(body_of('/write?n=1&first=2'), qr/ ok$/, 'written');
wait_for('every worker serves it', 5, sub { all_say('/who', qr/^b2$/) });
like(body_of('/large'), qr/^written to the store, but not served: .*zone/, 'it fails, and says why');
wait_for('an error', 5, sub {
    error_log() =~ /zone is too small: no 100\d\d\d bytes in one piece for instance "web", the last good content stays; set zedcup_zone to \d+k or more/ });
ok(all_say('/who', qr/^b2$/), 'what was good serves on, everywhere');
like(body_of('/write?n=1&name=api'), qr/ ok$/, 'others have room');
wait_for('every worker lists both', 5, sub { all_say('/list', qr/^api,web/) });
like(body_of('/write?n=1&first=3'), qr/ ok$/, 'small again');
wait_for('and followed', 5, sub { all_say('/who', qr/^b3$/) });



=== TEST 7: zedcup_zone: a size below the least
--- store: none
--- http_config
zedcup_zone 63k;
--- config
--- must_die
--- suppress_stderr
--- error_log
[emerg]
size "63k" is too small, at least 64k are needed



=== TEST 8: zedcup_zone: no size
--- store: none
--- http_config
zedcup_zone large;
--- config
--- must_die
--- suppress_stderr
--- error_log
[emerg]
invalid size "large"



=== TEST 9: zedcup_zone: twice
--- store: none
--- http_config
zedcup_zone 1m;
zedcup_zone 2m;
--- config
--- must_die
--- suppress_stderr
--- error_log
[emerg]
"zedcup_zone" directive is duplicate



=== TEST 10: zedcup_zone: without a value
--- store: none
--- http_config
zedcup_zone;
--- config
--- must_die
--- suppress_stderr
--- error_log
[emerg]
invalid number of arguments in "zedcup_zone" directive



=== TEST 11: zedcup_zone: not in a server
--- store: none
--- config
zedcup_zone 1m;
--- must_die
--- suppress_stderr
--- error_log
[emerg]
"zedcup_zone" directive is not allowed here



=== TEST 12: zedcup_zone: a reload to another size starts from the store
--- store: consul
--- http_config
zedcup_zone 1m;
--- script
like(body_of('/write?n=1'), qr/ ok$/, 'written');
edit_conf(sub { s/zedcup_zone 1m/zedcup_zone 2m/ or die });
reload();
wait_for('every worker serves it', 5, sub { all_say('/who', qr/^b1$/) });
