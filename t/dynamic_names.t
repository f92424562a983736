# ngx.dynamic: peers by host name, followed as the records change.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use DnsServer;

workers(2);
master_on();
DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});

# `b1`, `b2`, `b3` are servers on one port of three addresses
our $http = <<'END';
    upstream foo { zone dynamic_foo 64k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT4; }
    server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4; location / { return 200 b4; } }
    server { listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT; location / { return 200 b2; } }
    server { listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT; location / { return 200 b3; } }
    server { listen [::1]:$TEST_NGINX_BACKEND_PORT; location / { return 200 b6; } }
END
our $config = <<'END';
    location = /foo { proxy_pass http://foo/; }
    location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
    location = /do {
        content_by_lua_block {
            local env = setmetatable({
                d = require "ngx.dynamic", z = "dynamic_foo", p = $TEST_NGINX_BACKEND_PORT,
                own = "127.0.0.1:$TEST_NGINX_BACKEND_PORT4",
            }, { __index = _G })
            local code = setfenv(assert(loadstring(ngx.unescape_uri(ngx.var.args))), env)
            local ok, err = code()
            ngx.say(tostring(err or ok))
        }
    }
    location = /show {
        content_by_lua_block {
            local text = {}
            for i, peer in ipairs(require("ngx.dynamic").describe_zone("dynamic_foo")) do
                text[i] = peer.name:gsub(":%d+$", "") .. (peer.weight > 1 and "*" .. peer.weight or "")
                    .. (peer.server and " " .. peer.server:gsub(":%d+$", "") or "")
                    .. (peer.down and " down" or "") .. (peer.backup and " backup" or "")
            end
            table.sort(text)
            ngx.say(table.concat(text, ", "))
        }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    my $resolver = defined $block->no_resolver ? '' : "resolver 127.0.0.1:\$TEST_NGINX_EXTRA_PORT;\nresolver_timeout 1s;\n";
    $block->set_value('http_config', $resolver . ($block->http_config // '') . $http);
    $block->set_value('config', $config);
    $block->set_value('no_error_log', "[alert]\n") if !defined $block->no_error_log;
});
$ZedcupStore::default_store = 'none';

sub lua { my $code = shift; $code =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ge; return body_of("/do?$code") }
sub shows { my $want = shift; wait_for("it shows $want", 20, sub { body_of('/show') eq $want }) || diag(body_of('/show')) }
sub dns { open my $out, '>', "$ENV{TEST_NGINX_DNS_FILE}.new"; print $out "$_\n" for @_; close $out; rename "$ENV{TEST_NGINX_DNS_FILE}.new", $ENV{TEST_NGINX_DNS_FILE} }

run_tests();

__DATA__

=== TEST 1: the addresses of a name are peers, and follow its records
--- script
dns('app.test 1 127.0.0.2', 'app.test 1 127.0.0.3');
is(lua('return d.add_peer(z, "app.test:" .. p, 3)'), 'true', 'added');
shows('127.0.0.1, 127.0.0.2*3 app.test, 127.0.0.3*3 app.test');
dns('app.test 1 127.0.0.3', 'app.test 1 ::1');
shows('127.0.0.1, 127.0.0.3*3 app.test, [::1]*3 app.test');
dns();
wait_for('the name is gone', 5, sub { error_log() =~ /"app.test" could not be resolved .*; the zone stays as it is/ });
shows('127.0.0.1, 127.0.0.3*3 app.test, [::1]*3 app.test');
is(lua('return d.set_peer_down(z, own, true)'), 'true', 'the other is down');
my %seen;
$seen{body_of('/foo')}++ for 1 .. 8;
is(join(' ', sort keys %seen), 'b3 b6', 'both serve');
is(lua('return d.set_peer(z, "app.test:" .. p, { weight = 1 })'), 'true', 'set by name');
shows('127.0.0.1 down, 127.0.0.3 app.test, [::1] app.test');
dns('app.test 1 127.0.0.2');
shows('127.0.0.1 down, 127.0.0.2 app.test');
is(lua('return d.remove_peer(z, "APP.test:" .. p)'), 'true', 'removed by name');
shows('127.0.0.1 down');



=== TEST 2: names over a reload, and when the worker that asks is killed
--- script
dns('app.test 1 127.0.0.2');
is(lua('return d.add_peer(z, "app.test:" .. p, { backup = true })'), 'true', 'added');
shows('127.0.0.1, 127.0.0.2 app.test backup');
reload();
is(body_of('/show'), '127.0.0.1, 127.0.0.2 app.test backup', 'there at once');
dns('app.test 1 127.0.0.3');
shows('127.0.0.1, 127.0.0.3 app.test backup');
my %old = map { $_ => 1 } worker_pids();
kill KILL => keys %old;
wait_for('new workers', 5, sub { my @now = worker_pids(); @now == 2 && !grep { $old{$_} } @now });
dns('app.test 1 127.0.0.2');
shows('127.0.0.1, 127.0.0.2 app.test backup');
is(lua('return d.remove_peer(z, "app.test:" .. p)'), 'true', 'removed');
reload();
is(body_of('/show'), '127.0.0.1', 'and gone for good');
--- no_error_log
[emerg]



=== TEST 3: replace_peers() with names
--- script
dns('app.test 1 127.0.0.2', 'two.test 1 127.0.0.3');
is(lua('return d.replace_peers(z, { "app.test:" .. p })'),
    'zone "dynamic_foo": at least one peer that is no backup is needed, and the host names have no address yet', 'no address yet');
is(lua('return d.replace_peers(z, { own, "app.test:" .. p })'), 'true', 'beside an address');
shows('127.0.0.1, 127.0.0.2 app.test');
is(lua('return d.replace_peers(z, { { peer = "app.test:" .. p, weight = 4 }, { peer = "two.test:" .. p, backup = true } })'), 'true', 'alone');
shows('127.0.0.2*4 app.test, 127.0.0.3 two.test backup');
is(lua('return d.replace_peers(z, { "app.test:" .. p, "app.TEST:" .. p })'), 'zone "dynamic_foo": peer "app.TEST:' . $ENV{TEST_NGINX_BACKEND_PORT} . '" is given twice', 'twice');
is(lua('return d.remove_peer(z, "app.test:" .. p)'), 'zone "dynamic_foo": peer "app.test:' . $ENV{TEST_NGINX_BACKEND_PORT} . '" is the last one and stays', 'the last');
is(lua('return d.add_peer(z, "app.test:" .. p)'), 'zone "dynamic_foo": peer "app.test:' . $ENV{TEST_NGINX_BACKEND_PORT} . '" is there already', 'twice');
is(lua('return d.replace_peers(z, { own })'), 'true', 'none');
shows('127.0.0.1');



=== TEST 4: names that do not answer cost nothing, and 64 are the most
--- script
dns('app.test silent');
is(lua('for i = 1, 64 do assert(d.add_peer(z, "a" .. i .. ".test:1")) end return true'), 'true', 'all of them');
is(lua('return d.add_peer(z, "b.test:1")'), 'zone "dynamic_foo": no room for "b.test:1": there are 64 host names already', 'not one more');
shows('127.0.0.1');
is(body_of('/foo'), 'b4', 'it serves');
is(lua('return d.replace_peers(z, { own })'), 'true', 'gone');
is(lua('return d.add_peer(z, "b.test:1")'), 'true', 'there is room again');



=== TEST 5: without a resolver the error says what is missing
--- no_resolver
--- script
is(lua('return d.add_peer(z, "app.test:1")'), 'zone "dynamic_foo": peer "app.test:1": a host name needs a "resolver" in http {}', 'said');
is(lua('return d.replace_peers(z, { own, "app.test:1" })'), 'zone "dynamic_foo": peer "app.test:1": a host name needs a "resolver" in http {}', 'said');



=== TEST 6: an instance's host names become a zone's
--- store: embedded
--- init_worker
    assert(require("zedcup").sync_zone("dynamic_foo", "web"))
--- script
dns('app.test 1 127.0.0.2');
is(lua('return require("zedcup").configure_instance("web", { pools = { { hosts = { { host = "app.test", port = p, weight = 2 } } } } })'), 'true', 'written');
shows('127.0.0.2*2 app.test');
