# zedcup_status: what a worker serves and knows, for people and for monitors.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(2);
worker_connections(256);
master_on();

$ZedcupStore::default_store = 'consul';

our $folder = File::Temp->newdir('zedcup-status-XXXXXX', TMPDIR => 1);
add_block_preprocessor(sub {
    my $block = shift;
    return if defined $block->must_die;
    my $own = $block->http_config // '';
    $block->set_value('http_config', "$own\nzedcup_state_dir $folder;\n");
    $block->set_value('config', "location = /status { zedcup_status; }\n" . ($block->config // ''));
    $block->set_value('no_error_log', '[alert]') if !defined $block->no_error_log;
});

sub status {
    my ($code, $body) = get('/status' . (shift // ''));
    my $found = eval { JSON::PP::decode_json($body) } // { error => "no JSON: $body" };
    return wantarray ? ($found, $code) : $found;
}

# Of the instance's hosts: "b1 up, b2 down by operator".
sub hosts {
    my $of = status('?instance=web')->{instances}[0] // return 'none';
    return join ', ', map {
        my $pool = $_;
        map { $_->{name} . ($_->{up} ? ' up' : " down by $_->{down_by}")
            . ($_->{errors} ? " $_->{errors} errors" : '')
            . (defined $_->{active} ? " active $_->{active}" : '') } @{ $pool->{hosts} }
    } @{ $of->{pools} };
}

sub put_host {
    my ($i, %more) = @_;
    my $key = "instances/web/pools/1/hosts/$i";
    my %all = (host => '127.0.0.1', name => "b$i",
               port => $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1, %more);
    consul_put("$key/$_", $all{$_}) for sort keys %all;
}

run_tests();

__DATA__

=== TEST 1: the store, the revision, instances and what keeps a host from serving
--- backends: 1
--- lua
f.forget()
f.say(f.ask(zedcup.create_handler("web")))
--- script
put_host(1);
put_host(2, up => 'false');
put_host(3, port => $TEST_NGINX_CLOSED_PORT);
consul_put('instances/web/pools/1/max_errors', 2);
wait_for('all three', 5, sub { hosts() eq 'b1 up, b2 down by operator, b3 up' });
my ($all, $code) = status();
is($code, 200, 'status');
is($all->{content}, 'store', 'content');
is($all->{store}, "consul 127.0.0.1:$TEST_NGINX_CONSUL_PORT/$TEST_NGINX_PREFIX", 'its name');
ok($all->{revision} > 0, 'a revision');
is($all->{trouble}, undef, 'no trouble');
is($all->{problems}, undef, 'no problems');
is_deeply([map { $_->{name} } @{ $all->{instances} }], ['web'], 'instances');
wait_for('errors of this node', 5, sub { get('/t'); hosts() =~ /b3 up 1 errors/ });
wait_for('down by zedcup', 5, sub { get('/t'); hosts() =~ /b3 down by (node|zedcup)/ });
wait_for('and in the store', 5, sub { hosts() =~ /b3 down by zedcup/ });
consul_put('instances/web/method', 'least_conn');
wait_for('requests under way, where they are counted', 5, sub { hosts() =~ /b1 up active 0/ });
my ($none, $not_found) = status('?instance=no%20such');
is("$not_found $none->{error}", '404 there is no such instance', 'another instance');



=== TEST 2: what is wrong in the store, from every worker, until it is mended
--- backends: 1
--- script
put_host(1);
put_host(2, port => 99999, weight => '"x');
my $problem = qr{instances/web/pools/1/hosts/2/port: expected};
for my $pid (worker_pids()) {
    wait_for('problems', 5, sub {
        my $is = status();
        return $is->{pid} == $pid && join("\n", @{ $is->{problems}{web} // [] }) =~ $problem });
}
is(hosts(), 'b1 up', 'what is usable serves');
kill KILL => leader_pid();
wait_for('after the leader died', 5, sub { my $is = status(); $is->{leads} && join("\n", @{ $is->{problems}{web} // [] }) =~ $problem });
put_host(2, weight => 1);
wait_for('mended', 5, sub { !status()->{problems} && !status()->{problems} && hosts() eq 'b1 up, b2 up' });
--- no_error_log
[emerg]



=== TEST 3: a store that is away: the trouble, and since when; after a start, the age of what is served
--- backends: 1
--- script
wait_for('an empty store is read', 5, sub { status()->{content} eq 'store' });
put_host(1);
wait_for('it serves', 5, sub { hosts() eq 'b1 up' });
consul_stop();
wait_for('trouble', 5, sub { (status()->{trouble} // '') ne '' });
my $is = status();
is($is->{content}, 'store', 'content of the store');
ok($is->{trouble_seconds} >= 0 && $is->{trouble_seconds} < 10, "for $is->{trouble_seconds} s");
restart();
wait_for('saved content', 5, sub { (status()->{content} // '') eq 'saved' && hosts() eq 'b1 up' });
ok(status()->{age} < 60, 'its age');
consul_start();
wait_for('the store again', 15, sub { $is = status(); $is->{content} eq 'store' && !$is->{trouble} });



=== TEST 4: methods, and a nginx where zedcup does not run
--- store: none
--- config
--- script
my ($is, $code) = status();
is("$code $is->{error}", '503 zedcup does not run in this worker', 'not running');
my $http = HTTP::Tiny->new;
my $url = "http://127.0.0.1:$TEST_NGINX_SERVER_PORT/status";
is($http->post($url, { content => 'x' })->{status}, 405, 'POST');
my $head = $http->head($url);
is("$head->{status} $head->{headers}{'cache-control'} $head->{headers}{'content-type'}", '503 no-store application/json', 'HEAD');
is($http->get("$url?instance=%00%ff%")->{status}, 503, 'any argument');



=== TEST 5: beside another handler
--- config
location = /x { proxy_pass http://127.0.0.1:1; zedcup_status; }
--- must_die
--- suppress_stderr
--- error_log
"zedcup_status" directive is not allowed beside another handler of the location
