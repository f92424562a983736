# zedcup_state_dir: what the store held last is served by a start without it.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

workers(2);
worker_connections(512);
master_on();

$ZedcupStore::default_store = 'consul';

our $kept_in = File::Temp->newdir('zedcup-state-XXXXXX', TMPDIR => 1);
$ENV{TEST_NGINX_STATE_DIR} = "$main::kept_in";

add_block_preprocessor(sub {
    my $block = shift;
    my $own = $block->http_config // '';
    $own .= "zedcup_state_dir $main::kept_in;\n" if $own !~ /zedcup_state_dir/;
    $block->set_value('http_config', "$own\nupstream app { zedcup web; }\n");
    $block->set_value('config', "location /app { proxy_pass http://app/; }\n" . ($block->config // ''));
});

sub put_host {
    my ($i, $instance) = @_;
    my $key = 'instances/' . ($instance // 'web') . "/pools/1/hosts/$i";
    consul_put("$key/host", '127.0.0.1');
    consul_put("$key/port", $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1);
}

# "b1=4": who answers, of nginx's own proxy.
sub native {
    my %got;
    for (1 .. 4) {
        my ($status, $body) = get('/app');
        $got{$status == 200 ? $body : $status}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

# What is in the file of this block's store.
sub kept {
    my ($mine) = grep { m{/\Q$ENV{TEST_NGINX_PREFIX}\E"} }
        map { ZedcupStore::slurp($_) } glob "$main::kept_in/content.*";
    return $mine // '';
}

run_tests();

__DATA__

=== TEST 1: a start without the store serves what it held, for Lua and natively, and follows it when it is back
--- backends: 2
--- lua
f.say(f.tally("web", 4))
--- script
put_host(1);
wait_for('it serves', 5, sub { native() eq 'b1=4' });
wait_for('it is kept', 5, sub { kept() =~ /"web"/ });
consul_stop();
restart();
wait_for('nginx serves', 5, sub { native() eq 'b1=4' });
like(body_of('/t'), qr/^b1=4 /, 'the handler too');
wait_for('and the log says so', 5, sub {
    error_log() =~ /\[notice\] .*until the store is read: 1 instance of zedcup_state_dir, last confirmed 20\d\d-/ });
reload();
is(native(), 'b1=4', 'after a reload');
kill KILL => $_ for worker_pids();
wait_for('after killed workers', 5, sub { native() eq 'b1=4' });
consul_start();
put_host(2);
wait_for('the store is followed again', 15, sub { native() eq 'b1=2 b2=2' });
consul_delete('instances/web/pools/1/hosts/1/', 1);
wait_for('removals too', 5, sub { native() eq 'b2=4' });
wait_for('and kept', 5, sub { kept() =~ /"web"/ && kept() !~ /"1":\{"host"/ });
--- no_error_log
[emerg]
[crit]



=== TEST 2: an instance that has become unusable while nginx was down
--- backends: 1
--- config
location = /by { return 200 $pid; }
--- script
put_host(1);
put_host(1, 'other');
wait_for('it serves', 5, sub { native() eq 'b1=4' });
wait_for('it is kept', 5, sub { kept() =~ /"other"/ });
consul_put('instances/web/pools/1/hosts/1/port', '99999');
wait_for('what was good serves on', 5, sub { error_log() =~ m{instances/web/pools/1/hosts/1/port: expected} });
is(native(), 'b1=4', 'while nginx runs');
restart();
wait_for('and after a start', 5, sub { native() eq 'b1=4' });
wait_for('which says so', 5, sub { error_log() =~ /\[warn\] .*where the store has nothing usable: 1 instance/ });
for my $pid (worker_pids()) {
    wait_for('every worker serves it', 5, sub { my $by = body_of('/by'); native() eq 'b1=4' && $by == $pid });
}
--- no_error_log
[alert]



=== TEST 3: an instance that was deleted while nginx was down is not served
--- backends: 1
--- script
put_host(1);
wait_for('it serves', 5, sub { native() eq 'b1=4' });
wait_for('it is kept', 5, sub { kept() =~ /"web"/ });
restart(sub { consul_delete('instances/web/', 1) });
wait_for('nothing serves, and the log says why', 5, sub {
    native() eq '502=4' && error_log() =~ /instance "web": there is no such instance/ });
--- no_error_log
[alert]



=== TEST 4: a folder that cannot be written is a warning and nothing else
--- http_config
zedcup_state_dir $TEST_NGINX_STATE_DIR/none;
--- backends: 1
--- script
put_host(1);
wait_for('it serves', 5, sub { native() eq 'b1=4' });
wait_for('a warning', 5, sub { error_log() =~ m{\[warn\] .*zedcup_state_dir: .*/none/content\.[0-9a-f]+\.\d+\.tmp: No such file or directory; the content is not kept} });
put_host(1);
is(native(), 'b1=4', 'it serves on');
--- no_error_log
[alert]



=== TEST 5: a damaged file is named, and the store is followed as without it
--- backends: 1
--- script
put_host(1);
wait_for('it is kept', 5, sub { kept() =~ /"web"/ });
restart(sub {
    for my $path (glob "$main::kept_in/content.*") {
        open my $out, '>', $path or die $!;
        print $out "garbage\0\xff";
        close $out;
    }
});
wait_for('it serves', 5, sub { native() eq 'b1=4' });
like(error_log(), qr{\[warn\] .*zedcup_state_dir: \Q$main::kept_in\E/content\.[0-9a-f]+: not a file of saved content}, 'a warning');
put_host(1, 'other');
wait_for('and it is whole again', 5, sub { kept() =~ /"other"/ });
--- no_error_log
[alert]



=== TEST 6: an upgrade of the binary: no request fails, for new workers serve what the old ones wrote
--- main_config
env LD_PRELOAD; env ASAN_OPTIONS;
--- backends: 1
--- script
put_host(1);
wait_for('it serves', 5, sub { native() eq 'b1=4' });
wait_for('it is kept', 5, sub { kept() =~ /"web"/ });
my ($old, @old) = (master_pid(), worker_pids());
# another process asks all the while, and says what was no good answer
pipe my $in, my $out;
my $asker = fork() // die "fork: $!";
if (!$asker) {
    my ($count, $stop, @bad) = (0, 0);
    $SIG{TERM} = sub { $stop = 1 };
    while (!$stop && $count < 100_000) {
        my ($status, $body) = get('/app');
        last if $stop; # the signal may have ended it
        ++$count;
        push @bad, "$status $body" if $status != 200 || $body ne 'b1';
    }
    syswrite $out, $count > 50 ? "bad: @bad" : "only $count asked";
    POSIX::_exit(0);
}
close $out;
kill USR2 => $old;
my $new = wait_for('a new master', 10, sub { my $pid = master_pid(); $pid && $pid ne $old && $pid });
wait_for('its workers', 10, sub { my @now = worker_pids(); return @now == 2 });
kill QUIT => $old;
wait_for('the old ones leave', 10, sub { !grep { kill 0 => $_ } $old, @old });
my $asked = 0;
wait_for('some more requests', 5, sub { native() eq 'b1=4' && ++$asked > 10 });
kill TERM => $asker;
my $said = <$in>;
waitpid $asker, 0;
is($said, 'bad: ', 'no request failed');
put_host(2);
consul_put('instances/web/pools/1/hosts/1/up', 'false');
wait_for('the new ones follow', 5, sub { native() ne 'b1=4' });
--- no_error_log
[alert]
