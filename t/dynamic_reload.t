# ngx.dynamic: edits over reloads, failed reloads, a new start; their file.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(2);
master_on();

$ZedcupStore::default_store = 'none';

our $upstream = <<'END';
    upstream foo {
        zone dynamic_foo 64k;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT2;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT3 weight=3;
    }
END

# /do?CODE: Lua that has `d`, and the ports as b(1)..b(4)
our $do = <<'END';
    location = /foo { proxy_pass http://foo/; }
    location = /do {
        content_by_lua_block {
            local base = $TEST_NGINX_BACKEND_PORT
            local env = setmetatable({
                d = require "ngx.dynamic",
                z = "dynamic_foo",
                b = function(i) return "127.0.0.1:" .. base + i - 1 end,
                usage = function() return require("zedcup.ffi_peers").usage("dynamic_foo") end,
            }, { __index = _G })
            local code = setfenv(assert(loadstring(ngx.unescape_uri(ngx.var.args))), env)
            ngx.say(tostring(code() or ""))
        }
    }
    # the peers, by port; each with what is not the default
    location = /show {
        content_by_lua_block {
            local text = {}
            for i, peer in ipairs(require("ngx.dynamic").describe_zone("dynamic_foo")) do
                local port = peer.name:match(":(%d+)$")
                local own = "b" .. port - $TEST_NGINX_BACKEND_PORT + 1
                for _, field in ipairs({ "weight", "max_fails", "fail_timeout" }) do
                    if peer[field] ~= ({ weight = 1, max_fails = 1, fail_timeout = 10 })[field] then
                        own = own .. " " .. field .. "=" .. peer[field]
                    end
                end
                for _, field in ipairs({ "max_conns", "down", "drain", "backup" }) do
                    if peer[field] then
                        own = own .. " " .. field .. "=" .. tostring(peer[field])
                    end
                end
                text[i] = own
            end
            ngx.say(table.concat(text, "; "))
        }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value('http_config', ($block->http_config // '') . $upstream);
    $block->set_value('config', $do);
    $block->set_value('backends', 4);
    $block->set_value('no_error_log', "[error]\n[alert]\n[emerg]\n")
        if !defined $block->no_error_log;
});

sub lua { my $code = shift; $code =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ge; return body_of("/do?$code") }
sub show { return body_of('/show') }

run_tests();

__DATA__

=== TEST 1: edits are there after a reload; what was not touched is as the file says
--- script
lua('return d.add_peer(z, b(4), { weight = 5, max_conns = 9, backup = true })');
lua('return d.remove_peer(z, b(1))');
lua('return d.set_peer_down(z, b(2), true)');
is(show(), 'b2 down=true; b3 weight=3; b4 weight=5 max_conns=9 backup=true', 'edited');
reload();
is(show(), 'b2 down=true; b3 weight=3; b4 weight=5 max_conns=9 backup=true', 'reloaded');
edit_conf(sub { s/weight=3/weight=7/; s/server (\S+:\d+);(\s+server \S+ weight)/server $1 weight=2;$2/ });
reload();
is(show(), 'b2 weight=2 down=true; b3 weight=7; b4 weight=5 max_conns=9 backup=true',
    'the file counts for what was not touched');
is(body_of('/foo'), 'b3', 'it serves');
lua('return d.set_peer_down(z, b(2), false)');
lua('return d.remove_peer(z, b(4))');
lua('return d.add_peer(z, b(1), 4)');
reload();
is(show(), 'b1 weight=4; b2 weight=2; b3 weight=7', 'undone as well');



=== TEST 2: a peer that the file does not name any more takes its edits along
--- script
lua('return d.set_peer(z, b(3), { drain = true })');
edit_conf(sub { s/server \S+ weight=3;// });
reload();
is(show(), 'b1; b2', 'gone');
edit_conf(sub { s/(zone dynamic_foo 64k;)/$1 server 127.0.0.1:$ENV{TEST_NGINX_BACKEND_PORT3};/ });
reload();
is(show(), 'b3; b1; b2', 'and not drained when it comes back');



=== TEST 3: a hundred reloads with edits in between keep every edit and leak nothing
--- timeout: 60
--- script
my $free = lua('return usage().free_pages .. " " .. usage().used');
my $rss = sub { slurp_status(master_pid()) };
sub slurp_status { open my $in, '<', "/proc/$_[0]/status"; return join('', <$in>) =~ /VmRSS:\s+(\d+)/ ? $1 : 0 }
my $good = 1;
my $early;
my $rounds = $ENV{ZEDCUP_PRELOAD} ? 20 : 100;
for my $round (1 .. $rounds) {
    my $on = $round % 2;
    lua($on ? "return d.add_peer(z, b(4), $round)" : 'return d.remove_peer(z, b(4))');
    lua('return d.set_peer(z, b(1), { weight = ' . ($round + 1) . ' })');
    my %old = map { $_ => 1 } worker_pids();
    kill HUP => master_pid();
    # ask the new ones only: the old may still answer
    my $want = 'b1 weight=' . ($round + 1) . '; b2; b3 weight=3' . ($on ? '; b4' . ($round > 1 ? " weight=$round" : '') : '');
    my $end = Time::HiRes::time() + 10;
    my @now;
    do { Time::HiRes::sleep(0.01); @now = worker_pids() }
        while ((!@now || grep { $old{$_} } @now) && Time::HiRes::time() < $end);
    my $got = show();
    if ($got ne $want) { is($got, $want, "round $round"); $good = 0; last }
    $early = $rss->() if $round == int $rounds / 3;
}
ok($good, 'every edit was there');
is(lua('return usage().free_pages .. " " .. usage().used'), $free, 'the zone uses what it did');
my $late = $rss->();
# the address sanitizer keeps back what was freed: there it says nothing
ok($ENV{ZEDCUP_PRELOAD} || $late < $early + 1024, "the master has not grown ($early kB, $late kB)");



=== TEST 4: after a reload that fails the zone can be edited as before
--- script
is(lua('return d.remove_peer(z, b(1))'), 'true', 'before');
# the address is taken: found out once the zones are there
my $other = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{TEST_NGINX_EXTRA_PORT}, Listen => 1, ReuseAddr => 1) or die $!;
edit_conf(sub { s/(upstream foo)/server { listen 127.0.0.1:$ENV{TEST_NGINX_EXTRA_PORT}; } $1/ });
kill HUP => master_pid();
wait_for('the reload fails', 10, sub { error_log() =~ /still could not bind/ });
wait_for('edited again', 5, sub { lua('return d.add_peer(z, b(4))') eq 'true' });
is(show(), 'b2; b3 weight=3; b4', 'edited');
close $other;
reload();
is(show(), 'b2; b3 weight=3; b4', 'and carried on');
--- no_error_log
[alert]



=== TEST 5: a worker of the old configuration refuses edits that would be lost
--- script
my $long = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ENV{TEST_NGINX_SERVER_PORT});
my $code = 'ngx.say(1) ngx.flush(true) while not ngx.worker.exiting() do ngx.sleep(0.01) end return table.concat({tostring((d.add_peer(z, b(4)))), select(2, d.add_peer(z, b(4))), #d.describe_zone(z)}, "|")';
$code =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ge;
$long->timeout(5);
print $long "GET /do?$code HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
1 while ($long->getline // die 'no answer') ne "1\n";
kill HUP => master_pid();
my $answer = do { local $/; <$long> };
like($answer, qr/nil\|zone "dynamic_foo": nginx has been reloaded and this worker is of the configuration before: ask again\|3/, 'refused');
is(show(), 'b1; b2; b3 weight=3', 'and not there');



=== TEST 6: with zedcup_state_dir edits outlive a stop
--- http_config
    zedcup_state_dir $TEST_NGINX_SOCKET_DIR;
--- script
my $dir = $ENV{TEST_NGINX_SOCKET_DIR};
my $file = "$dir/zone.dynamic_foo";
lua('d.add_peer(z, b(4), { weight = 5, max_conns = 9, drain = true, backup = true }) d.remove_peer(z, b(1)) d.set_peer(z, b(2), { fail_timeout = 3 })');
my $want = 'b2 fail_timeout=3; b3 weight=3; b4 weight=5 max_conns=9 drain=true backup=true';
is(show(), $want, 'edited');
wait_for('written', 5, sub { -s $file && !glob("$dir/*.tmp") });
restart();
is(show(), $want, 'restarted');
lua('d.remove_peer(z, b(4))');
restart();
is(show(), 'b2 fail_timeout=3; b3 weight=3', 'the last edit was written while it ended');
restart(sub { open my $out, '>', $file; print $out "zedcup-peers 1\npeer x\nremoved\npeer 127.0.0.1:1 127 0 0 0 0 0 x\n"
    . "peer 127.0.0.1:1\0 127 0 1 1 1 1 x\npeer nobody:1 127 0 1 1 1 1 x\nremoved 127.0.0.1:$ENV{TEST_NGINX_BACKEND_PORT2}\nfoo bar baz\npeer 127.0.0.1:2 127 0 99999999999999999999 1 1 1 x" });
is(show(), 'b1; b3 weight=3', 'lines that are not understood are left out');
restart(sub { open my $out, '>', $file; print $out "\0" x 100 });
is(show(), 'b1; b2; b3 weight=3', 'a file that is none is left alone');
like(error_log(), qr/"\S+zone.dynamic_foo" is no file of kept edits/, 'and said');



=== TEST 7: a state dir that cannot be written is a warning
--- http_config
    zedcup_state_dir /dev/null/nowhere;
--- script
is(lua('return d.remove_peer(z, b(1))'), 'true', 'edited');
wait_for('said', 5, sub { error_log() =~ /\[warn\].*zone "dynamic_foo": its edits cannot be kept in "\/dev\/null\/nowhere\/zone.dynamic_foo" \(20: Not a directory\)/ });
is(show(), 'b2; b3 weight=3', 'it serves');
reload();
is(show(), 'b2; b3 weight=3', 'and over a reload');
