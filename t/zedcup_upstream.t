# The native balancer: nginx's own proxy_pass to the hosts of an instance.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

worker_connections(512);
master_on();

# Every block: upstream app, location /app; asked(n) tallies what answers.
our $upstream = 'upstream app { zedcup web; }';
our $location = <<'END';
    location /app/ {
        proxy_pass http://app/;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        add_header X-Way "$zedcup_instance $zedcup_pool $zedcup_host" always;
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $own = $block->http_config // '';
    $block->set_value('http_config', "$own\n$upstream\n") if $own !~ /upstream app/;
    $block->set_value('config', ($block->config // '') . $location);
});

# "b1=2 b2=1": who answered n requests; other statuses count as such.
sub asked {
    my ($n, $path, $options) = @_;
    my %got;
    for my $i (1 .. $n) {
        my ($status, $body) = get($path // '/app/', $options);
        $got{$status == 200 ? $body : $status}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

run_tests();

__DATA__

=== TEST 1: three equal hosts, 9 requests: 3 each; weights; the variables
--- backends: 3
--- lua
f.configure("web", f.hosts(3, function(i) return { weight = i == 3 and ngx.var.arg_w or 1 } end), { name = "main" })
ngx.say("ok")
--- script
is(body_of('/t?w=1'), 'ok', 'configured');
is(asked(9), 'b1=3 b2=3 b3=3', 'equal');
is(body_of('/t?w=4'), 'ok', 'configured');
is(asked(12), 'b1=2 b2=2 b3=8', 'by weight');
my $answer = HTTP::Tiny->new->get("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/app/");
like($answer->{headers}{'x-way'}, qr/^web main b\d$/, 'variables');



=== TEST 2: a refused connection goes on to the next host; errors take it out
--- backends: 2
--- lua
local h = f.hosts(2)
f.configure("web", { h[1], { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }, h[2] },
            { max_errors = 2 })
ngx.say("ok")
--- init_worker
require("zedcup").bind("host_down", function(instance, data)
    ngx.log(ngx.WARN, "down: ", instance, " ", data.host.name, " ", data.err or "")
end)
--- script
is(body_of('/t'), 'ok', 'configured');
is(asked(12), 'b1=6 b2=6', 'no failed request');
wait_for('an event', 5, sub { error_log() =~ /down: web dead connect failed/ });
my $before = () = error_log() =~ /connect\(\) failed/g;
is(asked(12), 'b1=6 b2=6', 'nor later');
my $after = () = error_log() =~ /connect\(\) failed/g;
is($after, $before, 'it is not tried any more');
--- no_error_log
[alert]



=== TEST 3: an unknown instance and an empty one are 502, with a line that says why
--- script
wait_for('unknown', 5, sub {
    is(asked(1), '502=1', 'a bad gateway');
    return error_log() =~ /zedcup: instance "web": there is no such instance/;
});
is(body_of('/empty'), 'ok', 'configured');
is(asked(2), '502=2', 'empty');
like(error_log(), qr/no live upstreams/, 'as nginx says it');
--- config
location = /empty {
    content_by_lua_block { ngx.print(require("zedcup").configure_instance("web", { pools = { { hosts = {} } } }) and "ok") }
}
--- no_error_log
[alert]



=== TEST 4: a bad status goes on as proxy_next_upstream says, and counts when another answers well
--- backends: 2
--- config
location /next/ {
    proxy_pass http://app/;
    proxy_next_upstream error timeout http_500 http_404;
}
location = /set { content_by_lua_block { local f = require("zedcup_fixture")
    f.configure("web", f.hosts(2), { max_errors = 3 }) ngx.print("ok") } }
location = /errors { content_by_lua_block {
    local state = require("zedcup").create_handler("web"):state()
    local n = 0
    for _, pool in pairs(state) do for _, host in pairs(pool) do n = n + (host.error_count or 0) end end
    ngx.print(n) } }
--- script
is(body_of('/set'), 'ok', 'configured');
is(asked(4, '/app/500'), '500=4', 'nginx passes it on without');
is(asked(4, '/next/404'), '404=4', 'all answer so');
is(asked(6), 'b1=3 b2=3', 'nobody is blamed');
--- no_error_log
[alert]



=== TEST 5: hash by a key, by the client's address; a method of the upstream's own
--- backends: 3
--- http_config
upstream app { zedcup web method=hash key=$arg_user; keepalive 8; }
upstream turns { zedcup web; }
--- config
location = /set { content_by_lua_block { local f = require("zedcup_fixture")
    f.configure("web", f.hosts(3)) ngx.print("ok") } }
location /turns/ { proxy_pass http://turns/; }
--- script
is(body_of('/set'), 'ok', 'configured');
my %seen;
for my $user (1 .. 20) {
    my $who = asked(3, "/app/?user=$user");
    like($who, qr/^b\d=3$/, "user $user stays");
    $seen{$who} = 1;
}
is(scalar keys %seen, 3, 'all hosts have users');
is(asked(6, '/turns/'), 'b1=2 b2=2 b3=2', 'another upstream of the same instance takes turns');



=== TEST 6: sticky: a cookie leads back to its host as long as that serves
--- backends: 3
--- http_config
upstream app { zedcup web sticky=route; keepalive 8; }
--- config
location = /set { content_by_lua_block { local f = require("zedcup_fixture")
    f.configure("web", f.hosts(3, function(i) return { up = tostring(i) ~= ngx.var.arg_down } end)) ngx.print("ok") } }
--- script
is(body_of('/set'), 'ok', 'configured');
my $http = HTTP::Tiny->new;
my $url = "http://127.0.0.1:$TEST_NGINX_SERVER_PORT/app/";
my $first = $http->get($url);
my ($cookie) = $first->{headers}{'set-cookie'} =~ /^(route=[0-9a-f]{16}); Path=\/; HttpOnly$/;
ok($cookie, 'a cookie');
is(asked(5, '/app/', { headers => { Cookie => "a=b; $cookie" } }), "$first->{content}=5", 'sticks');
ok(!$http->get($url, { headers => { Cookie => $cookie } })->{headers}{'set-cookie'}, 'it is not set again');
for my $bad ('route=', 'route=zz', 'route=ffffffffffffffff', 'route=0123456789abcdef0', 'route') {
    my $answer = $http->get($url, { headers => { Cookie => $bad } });
    like($answer->{headers}{'set-cookie'} // '', qr/^route=/, "$bad is replaced");
}
my ($n) = $first->{content} =~ /(\d)/;
is(body_of("/set?down=$n"), 'ok', 'its host goes');
my $other = $http->get($url, { headers => { Cookie => $cookie } });
isnt($other->{content}, $first->{content}, 'another one serves');
like($other->{headers}{'set-cookie'}, qr/^route=/, 'and sticks from now on');



=== TEST 7: keepalive: connections are kept and used again
--- backends: 2
--- http_config
upstream app { zedcup web; keepalive 8; }
--- lua
f.configure("web", f.hosts(2))
ngx.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
asked(6, '/app/connections');
like(asked(2, '/app/connections'), qr/b1 4=1 b2 4=1/, 'the same two');



=== TEST 8: server beside zedcup is an error
--- http_config
upstream app { zedcup web; server 127.0.0.1:1; }
--- lua
ngx.say("ok")
--- must_die
--- error_log
"server" is not allowed beside "zedcup" in upstream "app"



=== TEST 9: keepalive before zedcup is an error, where nginx minds the order
--- skip_nginx: 3: >= 1.29.7
--- http_config
upstream app { keepalive 4; zedcup web; }
--- lua
ngx.say("ok")
--- must_die
--- error_log
"zedcup" directive must come before any other balancing method and "keepalive"



=== TEST 10: another method behind zedcup is an error
--- http_config
upstream app { zedcup web; least_conn; }
--- lua
ngx.say("ok")
--- must_die
--- suppress_stderr
--- error_log
another balancing method is not allowed beside "zedcup" in upstream "app"



=== TEST 11: an unknown method is an error
--- http_config
upstream app { zedcup web method=fair; }
--- lua
ngx.say("ok")
--- must_die
--- error_log
invalid "method=fair": expected weighted_rr, hash, least_conn, ewma or random



=== TEST 12: host names, of /etc/hosts; IPv6 and unix sockets
--- backends: 1
--- http_config
server { listen unix:$TEST_NGINX_SOCKET_DIR/up.sock; location / { return 200 "unix"; } }
--- lua
f.configure("web", { { name = "n", host = "localhost", port = $TEST_NGINX_BACKEND_PORT },
    { name = "u", host = "unix:$TEST_NGINX_SOCKET_DIR/up.sock" } })
ngx.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
is(asked(4), 'b1=2 unix=2', 'both');
--- no_error_log
[alert]



=== TEST 13: through reloads and changes under way nothing fails
--- backends: 3
--- lua
f.configure("web", f.hosts(tonumber(ngx.var.arg_n) or 3))
ngx.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
for my $round (1 .. 3) {
    reload();
    unlike(asked(6), qr/\d\d\d=/, "round $round");
    is(body_of("/t?n=$round"), 'ok', 'changed');
    is(asked($round * 2), join(' ', map { "b$_=2" } 1 .. $round), 'follows');
}
--- no_error_log
[alert]



=== TEST 14: zedcup_store and Lua of one store: one runtime, and Lua hears of all
--- backends: 2
--- http_config
zedcup_store embedded:$TEST_NGINX_STORE_PATH prefix=$TEST_NGINX_PREFIX;
--- lua
f.configure("web", f.hosts(2))
f.wait(5, function() return ngx.shared.zedcup_cache:get("web|peers") end)
f.say(f.tally("web", 4))
--- script
is(body_of('/t'), 'b1=2 b2=2 false', 'the handler');
is(asked(4), 'b1=2 b2=2', 'nginx');
reload();
is(asked(4), 'b1=2 b2=2', 'after a reload');
is(body_of('/t'), 'b1=2 b2=2 false', 'and the handler');



=== TEST 15: zedcup_store and Lua of two stores: Lua is told
--- http_config
zedcup_store embedded:$TEST_NGINX_STORE_PATH prefix=another;
--- lua
local ok, err = zedcup.run_workers()
f.say(ok, (err:gsub("embedded /[^ :]+:", "embedded FILE:"):gsub("/t%d+", "/tN")))
--- response_body
nil this worker follows embedded FILE:another already, and not embedded FILE:zedcup-test/tN: zedcup_store and zedcup.init() must name one store
--- no_error_log
[alert]



=== TEST 16: an answer whose head breaks off, never ends or is none counts against its host
--- backends: 1
--- config
location = /next { proxy_pass http://app/; proxy_read_timeout 200ms; proxy_next_upstream error timeout invalid_header; }
--- lua
local bad = { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }
-- an error on its way to the store would meet the next host of that place
assert(zedcup.configure_instance("web", { persist_errors = false,
    pools = { { max_errors = 2, hosts = { f.hosts(1)[1], ngx.var.arg_bad and bad } } } }))
f.say("ok")
--- script
my %heads = ('breaks off' => "HTTP/1.1 200 OK\r\nX: ", 'never ends' => "HTTP/1.1 200 OK\r\nX: ",
             'is none' => "HTTP/1.1 200 OK\r\nX\0: 1\r\n\r\n");
for my $what (sort keys %heads) {
    my $out = () = error_log() =~ /is out of this node's rotation/g;
    my $pid = spawn_server(sub {
        my $listener = shift;
        my @kept;
        while (my $client = $listener->accept) {
            sysread $client, my $request, 4096;
            syswrite $client, $heads{$what};
            push @kept, $client if $what eq 'never ends';
        }
    });
    is(body_of('/t?bad=1'), 'ok', "the head $what");
    is(asked(6, '/next'), 'b1=6', 'the other one answers');
    wait_for("it counts: $what", 2, sub { $out < (() = error_log() =~ /is out of this node's rotation after 2 errors, the last: no answer/g) });
    stop_server($pid);
    is(body_of('/t'), 'ok', 'it goes');
}
--- no_error_log
[alert]



=== TEST 17: the variables name what a request was sent to, not what could not be asked for
--- lua
f.configure("web", { { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT },
    { name = "unknown", host = "unknown.invalid", port = 1 } }, { name = "main", max_errors = 100 })
ngx.say("ok")
--- script
is(body_of('/t'), 'ok', 'configured');
for my $i (1 .. 4) {
    my $answer = HTTP::Tiny->new->get("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/app/");
    is($answer->{status}, 502, "request $i fails");
    is($answer->{headers}{'x-way'}, 'web main dead', 'with the host that was tried');
}
--- no_error_log
[alert]
