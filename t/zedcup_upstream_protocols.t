# The native balancer under the other modules that pass requests on: FastCGI,
# uwsgi, SCGI, memcached. Each has a host that is dead and one that fails.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

worker_connections(512);
master_on();

# One server for all: what a client sends first tells its protocol. The number
# of the connection comes with each answer.
sub serve_all {
    my $listener = shift;
    my $number = 0;
    while (my $client = $listener->accept) {
        ++$number;
        next if fork;
        close $listener;
        my $text = '';
        while (sysread $client, $text, 65536, length $text) {
            while (my ($answer, $stays) = answer_to(\$text, $number)) {
                syswrite $client, $answer;
                POSIX::_exit(0) if !$stays;
            }
        }
        POSIX::_exit(0);
    }
}

# The answer to what is whole, and whether the connection stays.
sub answer_to {
    my ($text, $number) = @_;
    my $cgi = "Content-Type: text/plain\r\n\r\n";
    if ($$text =~ s/^get (\S+)\r\n//) {
        my $found = "mc $number";
        return ($1 eq '/none' ? "END\r\n" : sprintf("VALUE %s 0 %d\r\n%s\r\nEND\r\n", $1, length $found, $found), 1);
    }
    # a begin with the flag that says so, and an empty stdin: all is there
    if ($$text =~ s/^\x01\x01.{8}(.).*\x01\x05\0\x01\0\0\0\0//s) {
        my ($keep, $said) = (ord $1, "${cgi}fcgi $number");
        return (pack('CCnnCx a* CCnnCx CCnnCx NCx3', 1, 6, 1, length $said, 0, $said,
                     1, 6, 1, 0, 0, 1, 3, 1, 8, 0, 0, 0), $keep);
    }
    return ("HTTP/1.1 200 OK\r\n${cgi}uwsgi $number", 0)
        if $$text =~ /^\0(..)\0/s && length($$text) >= 4 + unpack('v', $1);
    return ("Status: 200 OK\r\n${cgi}scgi $number", 0)
        if $$text =~ /^(\d+):/ && length($$text) >= $1 + length($1) + 2;
    return;
}

run_tests();

__DATA__

=== TEST 1: a dead host and one that hangs up: nobody sees them; both are taken out
--- http_config
upstream app { zedcup web; }
upstream kept { zedcup web; keepalive 4; }
--- config
location /fcgi/ { fastcgi_pass app; fastcgi_param REQUEST_METHOD $request_method; add_header X-Way $zedcup_host; }
location /kept/ { fastcgi_pass kept; fastcgi_keep_conn on; fastcgi_param REQUEST_METHOD $request_method; }
location /uwsgi/ { uwsgi_pass app; uwsgi_param REQUEST_METHOD $request_method; }
location /scgi/ { scgi_pass app; scgi_param REQUEST_METHOD $request_method; scgi_param SCGI 1; }
location /mc/ { memcached_pass app; set $memcached_key /some; }
location /kept_mc/ { memcached_pass kept; set $memcached_key /some; }
location /none/ { memcached_pass app; set $memcached_key /none; memcached_next_upstream error timeout not_found; }
--- lua
local wanted = { { name = "dead", host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT },
    { name = "bad", host = "127.0.0.1", port = $TEST_NGINX_BACKEND_PORT4 },
    { name = "good", host = "127.0.0.1", port = $TEST_NGINX_EXTRA_PORT } }
assert(zedcup.remove_instance("web") or true)
assert(zedcup.configure_instance("web", { persist_errors = false, pools = { { max_errors = 2, hosts = wanted } } }))
f.say("ok")
--- script
my $good = spawn_server(\&serve_all);
my $bad = spawn_server(sub { my $l = shift; while (my $c = $l->accept) { sysread $c, my $x, 4096; close $c } },
    '127.0.0.1', $TEST_NGINX_BACKEND_PORT4);
my $outs = 0;
for my $what (qw(fcgi uwsgi scgi mc kept kept_mc)) {
    is(body_of('/t'), 'ok', "$what: configured");
    (my $says = $what) =~ s/^kept$/fcgi/;
    $says =~ s/^kept_//;
    my $last = 0;
    for my $i (1 .. 8) {
        my ($status, $body) = get("/$what/");
        like("$status $body", qr/^200 $says \d+$/, "$what: request $i");
        ($last) = $body =~ /(\d+)$/;
    }
    my ($now) = body_of("/$what/") =~ /(\d+)$/;
    my $kept = $what =~ /kept/ || $what eq "mc" && nginx_from("1.29.7");  # keepalive by default
    is($now - $last, $kept ? 0 : 1, "its connection");
    $outs += 2;
    wait_for('both are out', 5, sub { $outs == (() = error_log() =~ /is out of this node's rotation after 2 errors/g) });
}
is(join('', (get('/none/'))[0]), 404, 'memcached: no such key anywhere');
is(join('', (get('/none/'))[0]), 404, 'which counts against nobody');
like(body_of('/mc/'), qr/^mc \d+$/, 'it serves on');
stop_server($_) for $good, $bad;
--- no_error_log
[alert]
