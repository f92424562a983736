# The native balancer where nginx takes a request several times to a host:
# redirects, subrequests, caches, limits of its own; and what is left of each.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

worker_connections(512);
master_on();

our $common = <<'END';
    location = /set {
        content_by_lua_block {
            local f = require("zedcup_fixture")
            local dead = { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT }
            local h = f.hosts(4)
            f.configure("web", ngx.var.arg_dead and { dead } or { h[1], h[2] }, { name = "w", max_errors = 1000 })
            f.configure("api", { h[3] }, { name = "a" })
            ngx.print("ok")
        }
    }
    location /app/ { proxy_pass http://app/; add_header X-Way "$zedcup_instance $zedcup_host" always; }
END

add_block_preprocessor(sub {
    my $block = shift;
    my $own = $block->http_config // '';
    $own = "upstream app { zedcup web; keepalive 8; }\nupstream api { zedcup api; keepalive 8; }\n$own"
        if $own !~ /upstream app/;
    $block->set_value('http_config', $own);
    $block->set_value('config', $common . ($block->config // ''));
    $block->set_value('backends', 3) if !defined $block->backends;
    $block->set_value('no_error_log', "[alert]\n[emerg]\n") if !defined $block->no_error_log;
});

# An answer: status, body, and what the headers say, sorted.
sub answer {
    my ($path, $options) = @_;
    my $got = HTTP::Tiny->new(timeout => 10, keep_alive => 0, max_redirect => 0)
        ->get("http://127.0.0.1:$ENV{TEST_NGINX_SERVER_PORT}$path", $options // {});
    my $cookies = $got->{headers}{'set-cookie'} // [];
    return ($got->{status}, $got->{content}, $got->{headers}{'x-way'} // '-',
            join ' ', map { /^(\w+)=/ } ref $cookies ? @$cookies : $cookies);
}

sub said { return join '|', answer(@_) }

# The hosts of the access log's lines, once there are so many.
sub logged {
    my ($file, $lines) = @_;
    my @all;
    wait_for("$lines lines", 5, sub {
        @all = split /\n/, ZedcupStore::slurp("$Test::Nginx::Util::ServRoot/logs/$file");
        return @all >= $lines;
    });
    return join ', ', @all;
}

# Sends a request and hangs up; the host is at it then.
sub leave {
    my ($path, $begun) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ENV{TEST_NGINX_SERVER_PORT}) or die $!;
    syswrite $socket, "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    wait_for('it is under way', 5, $begun);
    close $socket;
}

run_tests();

__DATA__

=== TEST 1: error_page: variables and log still name the host, a second upstream its own
--- http_config
upstream app { zedcup web; }
upstream api { zedcup api; }
log_format way "$status $zedcup_instance/$zedcup_pool/$zedcup_host";
--- config
access_log logs/way.log way;
add_header X-Way "$zedcup_instance $zedcup_host" always;
location /page/ { proxy_pass http://app/; error_page 502 /sorry; }
location /named/ { proxy_pass http://app/; error_page 502 = @static; }
location /again/ { proxy_pass http://app/; error_page 502 = @again; }
location /other/ { proxy_pass http://app/; error_page 502 = @api; }
location = /sorry { internal; return 200 sorry; }
location @static { return 200 static; }
location @again { proxy_pass http://app; }
location @api { rewrite ^ / break; proxy_pass http://api; }
--- script
is(body_of('/set?dead=1'), 'ok', 'configured');
is(said('/page/'), '502|sorry|web dead|', 'a page');
is(said('/named/'), '200|static|web dead|', 'a location');
like(said('/again/'), qr/^502\|.*\|web dead\|$/s, 'the same upstream once more');
is(said('/other/'), '200|b3|api b3|', 'another one');
is((answer('/sorry'))[2], '', 'none at all');
like(logged('way.log', 6), qr{502 web/w/dead, 200 web/w/dead, 502 web/w/dead, 200 api/a/b3, 404 -/-/-}, 'so does the log');



=== TEST 2: X-Accel-Redirect and intercepted errors: the cookie stays, whatever answers; a failed host sets none
--- http_config
upstream app { zedcup web sticky=route; }
upstream api { zedcup api sticky=other; }
server {
    listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
    location / { return 200 "x"; }
    location = /file { add_header X-Accel-Redirect /inside; return 200; }
    location = /api { add_header X-Accel-Redirect /other/; return 200; }
    location = /named { add_header X-Accel-Redirect @inside; return 200; }
    location = /404 { return 404; }
}
--- config
location = /configure { content_by_lua_block {
    local f = require("zedcup_fixture")
    f.configure("web", { { name = "x", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } })
    f.configure("api", { f.hosts(3)[3] })
    ngx.print("ok") } }
location = /inside { internal; return 200 "inside"; }
location @inside { return 200 "named"; }
location /other/ { internal; proxy_pass http://api/; }
location /caught/ { proxy_pass http://app/; proxy_intercept_errors on; error_page 404 = /inside; }
--- script
is(body_of('/configure'), 'ok', 'configured');
is(said('/app/'), '200|x|web x|route', 'as ever');
is(said('/app/file'), '200|inside|-|route', 'a redirect inside');
is(said('/app/named'), '200|named|-|route', 'to a named location');
is(said('/app/api'), '200|b3|-|other', 'to another upstream: that one sticks');
is(said('/caught/404'), '200|inside|-|route', 'an error that was answered');
is(body_of('/set?dead=1'), 'ok', 'no host');
like(said('/app/'), qr/^502\|.*\|web dead\|$/s, 'no cookie of a host that failed');



=== TEST 3: subrequests to the same upstream keep apart: auth_request, mirror, addition, captures
--- http_config
upstream app { zedcup web; keepalive 8; }
upstream api { zedcup api; keepalive 8; }
log_format way "$uri $zedcup_instance/$zedcup_host";
log_subrequest on;
--- config
location = /log_off { access_log off; return 200; }
location /auth/ {
    access_log logs/auth.log way;
    auth_request /check; auth_request_set $checked $zedcup_host;
    proxy_pass http://app/; add_header X-Way "$zedcup_host after $checked";
}
location = /check { internal; access_log logs/auth.log way; proxy_pass http://app/; proxy_pass_request_body off; }
location /mirror/ { access_log logs/mirror.log way; mirror /copy; mirror /copy2; proxy_pass http://app/; }
location = /copy { internal; access_log logs/mirror.log way; proxy_pass http://app/; }
location = /copy2 { internal; access_log logs/mirror.log way; proxy_pass http://api/; }
location /parts/ { proxy_pass http://app/; addition_types *; add_before_body /sub/app; add_after_body /sub/api; }
location = /sub/app { internal; proxy_pass http://app/; }
location = /sub/api { internal; proxy_pass http://api/; }
location = /lua { content_by_lua_block {
    local all = { ngx.location.capture_multi({ { "/app/" }, { "/sub/api" }, { "/app/" }, { "/app/" } }) }
    for i, one in ipairs(all) do all[i] = one.body end
    table.sort(all)
    ngx.print(table.concat(all, ", "), " ", ngx.var.zedcup_host or "none") } }
--- script
is(body_of('/set'), 'ok', 'configured');
my ($status, $body, $way) = answer('/auth/');
like("$status $body $way", qr/^200 (b[12]) \1 after (?!\1)b[12]$/, 'auth_request has its own');
is((answer('/mirror/'))[0], 200, 'mirrored');
my $mirror = logged('mirror.log', 3);
like($mirror, qr{/copy web/b[12]}, 'a copy');
like($mirror, qr{/copy2 api/b3}, 'another upstream');
like($mirror, qr{/mirror/ web/b[12]}, 'and the request');
like((answer('/parts/'))[1], qr/^b[12]b[12]b3$/, 'parts of three');
like((answer('/lua'))[1], qr/^b1, b[12], b2, b3 none$/, 'captures side by side');



=== TEST 4: max_conns counts subrequests and clients that leave, and forgets them when they end
--- http_config
upstream app { zedcup slow; }
upstream api { zedcup api; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { content_by_lua_block {
    local shared = ngx.shared.zedcup_ipc
    shared:incr("under_way", 1, 0)
    require("zedcup_fixture").wait(10, function() return shared:get("go_on") end)
    shared:incr("under_way", -1)
    if ngx.var.uri == "/cut" then
        ngx.header["Content-Length"] = 100
        ngx.print("some") ngx.flush(true)
        return ngx.exit(444)
    end
    ngx.print("slow") } } }
--- config
location = /configure { content_by_lua_block { local f = require("zedcup_fixture")
    f.configure("slow", { { name = "slow", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } }, { max_conns = 1, max_errors = 1000 })
    ngx.print("ok") } }
location = /go { content_by_lua_block { ngx.shared.zedcup_ipc:set("go_on", ngx.var.arg_on == "1") ngx.print("ok") } }
location = /begun { content_by_lua_block { ngx.print(ngx.shared.zedcup_ipc:get("under_way") or 0) } }
location /short/ { proxy_pass http://app/; proxy_read_timeout 100ms; }
location /capture { content_by_lua_block { ngx.print(ngx.location.capture("/app/").status) } }
--- script
my $begun = sub { body_of('/begun') eq '1' };
my $free = sub { (answer('/app/'))[0] eq '200' };
is(body_of('/configure'), 'ok', 'configured');
for my $path ('/app/', '/capture') {
    is(body_of('/go?on=0'), 'ok', 'hosts wait');
    leave($path, $begun);
    wait_for("$path: the host still works, nginx has left it", 5, sub {
        my $status = (answer('/short/'))[0];
        return $path eq '/app/' ? $status eq '504' : $status eq '502' });
    is(body_of('/go?on=1'), 'ok', 'go on');
    wait_for('its place is free', 5, $free);
    wait_for('the host is idle', 5, sub { body_of('/begun') eq '0' });
}
is(body_of('/go?on=0'), 'ok', 'hosts wait');
is((answer('/short/'))[0], 504, 'too late');
is((answer('/short/'))[0], 504, 'which ends it');
is(body_of('/go?on=1'), 'ok', 'go on');
is((answer('/app/cut'))[0], 599, 'a body that breaks off');
wait_for('its place is free', 5, $free);



=== TEST 5: proxy_next_upstream_tries counts connections; the last bad answer is passed on
--- http_config
upstream app { zedcup web; }
upstream api { zedcup api; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { return 503 "bad"; } }
--- config
location = /configure { content_by_lua_block { local f = require("zedcup_fixture")
    local function dead(i) return { name = "d" .. i, host = "127.0.0." .. i, port = $TEST_NGINX_CLOSED_PORT } end
    f.configure("web", { dead(1), dead(2), dead(3), dead(4), f.hosts(1)[1] }, { max_errors = 1000 })
    local bad = { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT }
    assert(require("zedcup").configure_instance("api", { pools = { { hosts = { bad } }, { max_conns = 1, hosts = {
        { name = "full", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } } } } }))
    ngx.print("ok") } }
add_header X-Way "$upstream_addr" always;
location /two/ { proxy_pass http://app/; proxy_next_upstream_tries 2; }
location /all/ { proxy_pass http://app/; }
location /none/ { proxy_pass http://app/; proxy_next_upstream off; }
location /api/ { proxy_pass http://api/; proxy_next_upstream error timeout http_503; }
--- script
is(body_of('/configure'), 'ok', 'configured');
my $tried = sub { my @all = answer(shift); return "$all[0] " . (() = $all[2] =~ /:\d/g) };
is($tried->('/two/'), '502 2', 'two');
is($tried->('/two/'), '502 2', 'and two others');
is($tried->('/none/'), '200 1', 'off: the fifth');
is($tried->('/none/'), '502 1', 'off: one');
is($tried->('/all/'), '200 4', 'until one answers');
is($tried->('/api/'), '503 2', 'the last answer, not a bad gateway');



=== TEST 6: where the host with room is asked, a full one behind it does not turn its answer into 502
--- http_config
upstream app { zedcup web; }
upstream full { zedcup web; }
server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; location / { return 503 "bad"; } }
server { listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT4; location / { content_by_lua_block {
    ngx.shared.zedcup_ipc:set("begun", true)
    require("zedcup_fixture").wait(10, function() return ngx.shared.zedcup_ipc:get("go_on") end)
    ngx.print("b4") } } }
--- config
location = /configure { content_by_lua_block { local f = require("zedcup_fixture")
    local bad = { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT, up = ngx.var.arg_up ~= "0" }
    assert(require("zedcup").configure_instance("web", { pools = { { hosts = { bad } },
        { max_conns = 1, hosts = { f.hosts(4)[4] } } } }))
    ngx.print("ok") } }
location = /go { content_by_lua_block { ngx.shared.zedcup_ipc:set("go_on", true) ngx.print("ok") } }
location = /begun { content_by_lua_block { ngx.print(ngx.shared.zedcup_ipc:get("begun") and 1 or 0) } }
location /next/ { proxy_pass http://app/; proxy_next_upstream error timeout http_503; }
--- script
is(body_of('/configure?up=0'), 'ok', 'only the second pool');
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $TEST_NGINX_SERVER_PORT) or die;
syswrite $socket, "GET /next/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
wait_for('its host is full', 5, sub { body_of('/begun') eq '1' });
is(body_of('/configure'), 'ok', 'both');
is(join('|', (answer('/next/'))[0, 1]), '503|bad', 'the answer that there was');
is(body_of('/go'), 'ok', 'go on');
like(join('', <$socket>), qr/\nb4\r?$/m, 'and the first one has its own');
is(join('|', (answer('/next/'))[0, 1]), '200|b4', 'with room: on to the next');



=== TEST 7: a cache: hits have no host; stale while it is renewed in the background; stale on errors
--- http_config
upstream app { zedcup web; keepalive 8; }
upstream api { zedcup api; }
proxy_cache_path $TEST_NGINX_SOCKET_DIR/cache keys_zone=c:1m;
log_format way "$uri $upstream_cache_status $zedcup_host";
log_subrequest on;
--- config
location /cached/ {
    access_log logs/cache.log way;
    proxy_pass http://app/;
    proxy_cache c;
    proxy_cache_key $uri;
    proxy_cache_valid 200 1s;
    proxy_cache_use_stale updating error timeout;
    proxy_cache_background_update on;
    add_header X-Way "$upstream_cache_status $zedcup_host";
}
--- script
is(body_of('/set'), 'ok', 'configured');
my ($status, $first, $way) = answer('/cached/');
is("$status $way", "200 MISS $first", 'fetched');
is((answer('/cached/'))[2], 'HIT ', 'then not');
my $stale = wait_for('stale', 5, sub { my @got = answer('/cached/'); $got[2] =~ /STALE/ && "$got[0] $got[1] $got[2]" });
like($stale, qr/^200 $first STALE /, 'the old one at once');
wait_for('renewed', 5, sub { my @got = answer('/cached/'); $got[2] =~ /HIT/ && $got[1] ne $first });
is(body_of('/set?dead=1'), 'ok', 'no host');
wait_for('stale again', 5, sub { (answer('/cached/'))[2] =~ /STALE/ });
is((answer('/cached/'))[0], 200, 'and it stays so') for 1 .. 3;



=== TEST 8: proxy_pass with a variable names the upstream, or something else
--- config
location = /by { proxy_pass http://$arg_u/; add_header X-Way "$zedcup_instance $zedcup_host" always; }
location = /uri { proxy_pass $arg_s://$arg_u/404; add_header X-Way "$zedcup_instance" always; }
--- script
is(body_of('/set'), 'ok', 'configured');
like(said('/by?u=app'), qr/^200\|(b[12])\|web \1\|$/, 'one');
is(said('/by?u=api'), '200|b3|api b3|', 'another');
is(said("/by?u=127.0.0.1:$TEST_NGINX_BACKEND_PORT2"), '200|b2||', 'an address');
like(said('/by?u=nobody'), qr/^502\|/, 'neither');
like(said('/uri?s=http&u=app'), qr/^404\|b[12]\|web\|$/, 'with a URI');



=== TEST 9: reloads and changes with requests of all these kinds under way: nothing is lost or mixed up
--- http_config
upstream app { zedcup web; keepalive 4; }
upstream api { zedcup api; keepalive 4; }
--- config
location = /all { auth_request /check; proxy_pass http://app/404; proxy_intercept_errors on; error_page 404 = @api;
    mirror /check; }
location = /check { internal; proxy_pass http://app/; }
location @api { rewrite ^ / break; proxy_pass http://api; add_header X-Way "$zedcup_host" always; }
location = /many { content_by_lua_block {
    local threads, bad = {}, 0
    for i = 1, 40 do threads[i] = ngx.thread.spawn(function()
        local res = require("zedcup.http").new():request_uri("http://127.0.0.1:$TEST_NGINX_SERVER_PORT/all", { keepalive = false })
        if not res or res.status ~= 200 or res.body ~= "b3" or res.headers["X-Way"] ~= "b3" then bad = bad + 1 end
    end) end
    for i = 1, 40 do ngx.thread.wait(threads[i]) end
    ngx.print(bad) } }
--- script
is(body_of('/set'), 'ok', 'configured');
for my $round (1 .. 3) {
    is(body_of('/many'), '0', "round $round");
    is(body_of('/set'), 'ok', 'changed');
    reload();
}
is(body_of('/many'), '0', 'at last');
