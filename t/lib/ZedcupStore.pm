package ZedcupStore;

# What tests of the zedcup module add to ZedcupTest: a store, backends, and
# steps from outside of nginx.
#
#     use lib 't/lib';
#     use ZedcupTest 'no_plan';
#     use ZedcupStore;
#     run_tests();
#
# Every block gets the three shared dictionaries, init() with a store of its own
# and run_workers(), unless its http_config has an init_by_lua or says so here:
#   --- store: embedded     the default; an SQLite file of the block's own
#   --- store: consul       a real server, one a file, and a prefix of the block's
#   --- store: etcd         the same with an etcd
#   --- store: none         no init(), no run_workers()
#   --- consul: stopped     it is not running when nginx starts
#   --- backends: 3         servers that answer with their names b1, b2, b3 (up
#                           to 4) on BACKEND_PORT..; see $backend below
#   --- init_worker         Lua before run_workers()
#   --- lua                 the content of location /t, where `zedcup` and `f`,
#                           the fixture, are at hand; config may stand beside it
#   --- script              Perl that runs in place of the request; the functions
#                           exported below are for it
# A block that says nothing about the error log has no errors in it.
# $ZedcupStore::default_store changes the default of a file, ZEDCUP_TEST_STORE that of a run. Exported as $TEST_NGINX_...:
#   PREFIX                  of this block in Consul
#   STORE_PATH              of this block's SQLite file
#   OPTIONS                 what init() is given

use strict;
use warnings;

use Exporter 'import';
use File::Temp ();
use HTTP::Tiny ();
use IO::Socket::IP ();
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();
use Test::More ();
use Time::HiRes ();
use Test::Nginx::Socket;

our @EXPORT = qw(get body_of wait_for each_worker leader_pid reload restart edit_conf error_log master_pid
                 worker_pids consul_start consul_stop consul_put consul_delete
                 consul_keys consul_freeze spawn_server stop_server);

our $default_store = $ENV{ZEDCUP_TEST_STORE} || 'embedded';

my $owner = $$;
my $folder = File::Temp->newdir('zedcup-store-XXXXXX', TMPDIR => 1);
my ($consul, $etcd); # their pids
my $http = HTTP::Tiny->new(timeout => 10);
my %servers;        # pid => 1

# A backend says who it is; /STATUS answers with that status, /echo with what
# it got.
my $backend = <<'END';
    location / { return 200 "NAME"; }
    location = /500 { return 500 "NAME"; }
    location = /404 { return 404 "NAME"; }
    location = /connections { return 200 "NAME $connection_requests"; }
    location = /echo {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_method(), " ", ngx.var.request_uri, " ",
                      ngx.req.get_body_data() or "")
        }
    }
END

my $number = 0;

add_block_preprocessor(sub {
    my $block = shift;
    ++$number;
    my $kind = $block->store // $default_store;
    my $prefix = "zedcup-test/t$number";
    $ENV{TEST_NGINX_PREFIX} = $prefix;
    $ENV{TEST_NGINX_STORE_PATH} = "$folder/t$number.db";
    my $server = qq({ host = "127.0.0.1", port = $ENV{TEST_NGINX_CONSUL_PORT} });
    $ENV{TEST_NGINX_OPTIONS} = qq({ prefix = "$prefix", ) . (
        $kind eq 'consul' ? "consul = $server }"
        : $kind eq 'etcd' ? "etcd = $server }"
        : qq(embedded = { path = "$folder/t$number.db" } }));
    if ($kind eq 'consul') {
        ($block->consul // '') eq 'stopped' ? consul_stop() : consul_start();
    }
    etcd_start() if $kind eq 'etcd';

    if ($ENV{ZEDCUP_TEST_PLAIN}) {
        $block->set_value('no_error_log', "[error]\n")
            if !grep { defined } $block->error_log, $block->no_error_log, $block->must_die;
        return;
    }
    my $own = $block->http_config // '';
    my $head = '';
    $head .= "lua_shared_dict zedcup_$_ 1m;\n"
        for grep { $own !~ /(?:no|lua_shared_dict) zedcup_$_\b/ } qw(cache locks ipc);
    my $setup = qq{require("zedcup_fixture").setup({
        store = "$kind", prefix = "$prefix", path = "$folder/t$number.db",
        consul_port = $ENV{TEST_NGINX_CONSUL_PORT},
        ports = { $ENV{TEST_NGINX_BACKEND_PORT}, $ENV{TEST_NGINX_BACKEND_PORT2},
                  $ENV{TEST_NGINX_BACKEND_PORT3}, $ENV{TEST_NGINX_BACKEND_PORT4} } })};
    if ($own !~ /init_by_lua/) {
        my $init = $kind eq 'none' ? '' : qq{assert(require("zedcup").init($ENV{TEST_NGINX_OPTIONS}))};
        $head .= "init_by_lua_block { require('resty.core') $setup $init }\n";
    }
    if ($own !~ /init_worker_by_lua/ && ($kind ne 'none' || $block->init_worker)) {
        my $run = $kind eq 'none' ? '' : 'require("zedcup").run_workers()';
        $head .= "init_worker_by_lua_block {\n" . ($block->init_worker // '')
            . "\n$run }\n";
    }
    for my $i (1 .. $block->backends // 0) {
        (my $locations = $backend) =~ s/NAME/b$i/g;
        my $port = $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1;
        $head .= "server { listen 127.0.0.1:$port;\n$locations}\n";
    }
    $block->set_value('http_config', "$head$own");
    my $config = $block->config // '';
    $config .= "location = /t { content_by_lua_block {\n"
        . qq{local zedcup, f = require("zedcup"), require("zedcup_fixture")\n}
        . $block->lua . "}}\n" if defined $block->lua;
    $block->set_value('config', $config);
    $block->set_value('no_error_log', "[error]\n")
        if !grep { defined } $block->error_log, $block->no_error_log, $block->must_die;
});

# Every block may take a while where it waits for a condition.
$Test::Nginx::Util::Timeout = 20;

# A block with a script runs that in place of its request. The servers that it
# started end with it.
my $request_helper = $Test::Nginx::Util::RunTestHelper;
$Test::Nginx::Util::RunTestHelper = sub ($$) {
    my ($block, $dry_run, $repeated) = @_;
    return $request_helper->(@_) if !defined $block->script;
    my $name = $block->name;
    my $script = Test::Nginx::Util::expand_env_in_text($block->script, $name, {});
    my %before = %servers;
    eval "package main; use strict; use warnings; no warnings 'once';\n"
        . "#line 1 \"$name\"\n$script; 1"
        or Test::More::fail("$name - script: $@");
    stop_server($_) for grep { !$before{$_} } keys %servers;
    $Test::Nginx::Util::CheckErrorLog->($block, undef, $dry_run, $repeated, 0);
};

# ---- from outside ------------------------------------------------------------

# (status, body) of a request to nginx on a connection of its own; 599 where it
# does not answer.
sub get {
    my ($path, $options) = @_;
    my $fresh = HTTP::Tiny->new(timeout => 15, keep_alive => 0);
    my $answer = $fresh->get("http://127.0.0.1:$ENV{TEST_NGINX_SERVER_PORT}$path",
                             $options // {});
    return ($answer->{status}, $answer->{content});
}

sub body_of { my (undef, $body) = get(@_); $body =~ s/\n\z//; return $body }

# What every worker answers: { pid => body }. Asks over a server on EXTRA_PORT
# with reuseport (see t/zedcup_workers.t), whose answers begin with the pid and
# a blank, until each worker was seen; undef where that takes too long.
sub each_worker {
    my $path = shift;
    my %seen;
    my $end = Time::HiRes::time() + 5;
    while (Time::HiRes::time() < $end) {
        my $answer = HTTP::Tiny->new(timeout => 5, keep_alive => 0)
            ->get("http://127.0.0.1:$ENV{TEST_NGINX_EXTRA_PORT}$path");
        $seen{$1} = $2 if $answer->{content} =~ /^(\d+) (.*?)\n?\z/s;
        return \%seen if !grep { !exists $seen{$_} } worker_pids();
    }
    return undef;
}

# The worker that said last that it follows the store.
sub leader_pid { return (error_log() =~ / (\d+)#\d+: zedcup: this worker follows/g)[-1] }

# Waits until the code returns something true; fails by name otherwise.
sub wait_for {
    my ($name, $seconds, $code) = @_;
    my $end = Time::HiRes::time() + $seconds;
    my $got;
    do {
        $got = $code->();
        if ($got) {
            Test::More::pass($name);
            return $got;
        }
        Time::HiRes::sleep(0.02);
    } while (Time::HiRes::time() < $end);
    Test::More::fail("$name: not within $seconds s");
    return $got;
}

sub slurp {
    open my $in, '<', shift or return '';
    local $/;
    return scalar <$in> // '';
}

sub error_log { return slurp($Test::Nginx::Util::ErrLogFile) }

sub master_pid {
    my $pid = slurp($Test::Nginx::Util::PidFile);
    chomp $pid;
    return $pid;
}

# The workers that the master has now, old generations included.
sub worker_pids {
    my $master = master_pid();
    my @pids = split ' ', slurp("/proc/$master/task/$master/children");
    @pids = sort { $a <=> $b } @pids; # a sort has no count in scalar context
    return @pids;
}

sub edit_conf {
    my $edit = shift;
    local $_ = slurp($Test::Nginx::Util::ConfFile);
    $edit->();
    open my $out, '>', $Test::Nginx::Util::ConfFile or die $!;
    print $out $_;
    close $out;
}

# Reloads and waits until only new workers are there.
sub reload {
    my %old = map { $_ => 1 } worker_pids();
    kill HUP => master_pid();
    return wait_for('reloaded', 10, sub {
        my @now = worker_pids();
        return @now && !grep { $old{$_} } @now;
    });
}

# Ends nginx altogether and starts it anew, with the configuration as it is. The
# code, where there is any, runs between.
sub restart {
    my $between = shift;
    my $old = master_pid();
    my @all = ($old, worker_pids());
    kill QUIT => $old;
    wait_for('nginx ended', 10, sub { !grep { kill 0 => $_ } @all });
    $between->() if $between;
    local $ENV{LD_PRELOAD} = $ENV{ZEDCUP_PRELOAD} // '';
    system($Test::Nginx::Util::NginxBinary, '-p', "$Test::Nginx::Util::ServRoot/",
           '-c', $Test::Nginx::Util::ConfFile) == 0
        or Test::More::fail('nginx starts again');
    return wait_for('nginx started', 5, sub { my $new = master_pid(); $new && $new != $old && worker_pids() });
}

# ---- a server in a process of its own ------------------------------------------

# Runs the code in a child, with a listening socket on EXTRA_PORT, or where the
# caller says: a server that can be killed. Returns its pid. The default answers every
# request with "extra".
sub spawn_server {
    my ($serve, $address, $port) = @_;
    $serve //= \&_serve_http;
    my $listener = IO::Socket::IP->new(
        LocalHost => $address // '127.0.0.1', LocalPort => $port // $ENV{TEST_NGINX_EXTRA_PORT},
        Listen => 64, ReuseAddr => 1) or die "cannot listen: $!";
    return serve_in_child($listener, $serve);
}

# The same on a socket that is there.
sub serve_in_child {
    my ($listener, $serve) = @_;
    my $pid = fork() // die "cannot fork: $!";
    if ($pid) {
        close $listener;
        $servers{$pid} = 1;
        return $pid;
    }
    $SIG{ALRM} = 'DEFAULT';
    alarm 60; # whatever becomes of us
    eval { $serve->($listener) };
    POSIX::_exit(0);
}

sub stop_server {
    my $pid = shift;
    return if !delete $servers{$pid};
    kill KILL => $pid;
    waitpid $pid, 0;
}

# One connection after another is answered by a child of its own.
sub _serve_http {
    my $listener = shift;
    my @open;
    while (1) {
        my $in = '';
        vec($in, fileno($_), 1) = 1 for $listener, map { $_->[0] } @open;
        select($in, undef, undef, undef);
        for my $entry (grep { vec($in, fileno($_->[0]), 1) } @open) {
            if (!sysread($entry->[0], $entry->[1], 65536, length $entry->[1])) {
                close $entry->[0];
                next;
            }
            syswrite $entry->[0], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra"
                while $entry->[1] =~ s/^.*?\r\n\r\n//s;
        }
        @open = grep { defined fileno($_->[0]) } @open;
        if (vec($in, fileno($listener), 1) && (my $client = $listener->accept)) {
            push @open, [$client, ''];
        }
    }
}

# ---- Consul ---------------------------------------------------------------------

sub _consul_binary {
    my @candidates = ($ENV{ZEDCUP_CONSUL} || (),
                      (map { "$_/consul" } split /:/, $ENV{PATH}),
                      "$ENV{TEST_NGINX_TOP}/build/tools/usr/bin/consul");
    my ($binary) = grep { -x } @candidates;
    return $binary // die "no consul: put one on PATH, name it in ZEDCUP_CONSUL, or "
        . "run `sh cmake/fetch_deb.sh bullseye consul build/tools`\n";
}

# Starts the server, on the same ports and data every time, and waits for it. A
# block that gives settings of its own stops it in the end.
sub consul_start {
    my %own = @_;
    return if defined $consul;
    my $binary = _consul_binary();
    my ($port, $lan, $rpc) = @ENV{map { "TEST_NGINX_CONSUL_PORT$_" } '', 2, 3};
    open my $out, '>', "$folder/agent.json" or die $!;
    print $out JSON::PP::encode_json({
        server => JSON::PP::true, bootstrap => JSON::PP::true,
        bind_addr => '127.0.0.1', client_addr => '127.0.0.1', node_name => 'test',
        disable_update_check => JSON::PP::true, session_ttl_min => '1s',
        performance => { raft_multiplier => 1 },
        connect => { enabled => JSON::PP::false }, data_dir => "$folder/consul",
        limits => { http_max_conns_per_client => 1000 },
        %own,
        ports => { dns => -1, grpc => -1, serf_wan => -1, http => $port + 0,
                   serf_lan => $lan + 0, server => $rpc + 0, %{ $own{ports} // {} } },
    });
    close $out;
    $consul = fork() // die "cannot fork: $!";
    if (!$consul) {
        open STDOUT, '>>', "$folder/consul.log";
        open STDERR, '>&', \*STDOUT;
        # also when the test is killed: no server may stay behind
        exec 'setpriv', '--pdeathsig', 'KILL', $binary, 'agent',
            "-config-file=$folder/agent.json" or POSIX::_exit(127);
    }
    my $end = time + 30;
    while (time < $end) {
        return if _kv('GET', 'ready?consistent')->{status} == 404;
        Time::HiRes::sleep(0.05);
        last if waitpid($consul, POSIX::WNOHANG()) == $consul;
    }
    die "consul does not start:\n" . substr(slurp("$folder/consul.log"), -3000);
}

# Ends it as a crash would; its data stay.
sub consul_stop {
    return if !defined $consul;
    kill CONT => $consul;
    kill KILL => $consul;
    waitpid $consul, 0;
    undef $consul;
}

# Makes it hang (true) or go on (false).
sub consul_freeze {
    return kill CONT => $consul if !shift;
    kill STOP => $consul;
    # each of its threads stops in its own time
    my $end = Time::HiRes::time() + 5;
    while (Time::HiRes::time() < $end) {
        my @states = map { slurp($_) =~ /\) (\S)/ } glob "/proc/$consul/task/*/stat";
        return if @states && !grep { $_ ne 'T' } @states;
        Time::HiRes::sleep(0.01);
    }
    die 'consul does not stop';
}

sub _kv {
    my ($method, $key, $value) = @_;
    return $http->request($method,
        "http://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/v1/kv/$key",
        defined $value ? { content => $value } : {});
}

# Keys are below the block's prefix.
sub consul_put {
    my ($key, $value) = @_;
    my $answer = _kv('PUT', "$ENV{TEST_NGINX_PREFIX}/$key", $value);
    $answer->{success} or die "consul put $key: $answer->{status} $answer->{content}";
}

sub consul_delete {
    my ($key, $recurse) = @_;
    my $answer = _kv('DELETE',
                     "$ENV{TEST_NGINX_PREFIX}/$key" . ($recurse ? '?recurse' : ''));
    $answer->{success} or die "consul delete $key: $answer->{status}";
}

# { key => value } below the block's prefix.
sub consul_keys {
    my $answer = _kv('GET', "$ENV{TEST_NGINX_PREFIX}/?recurse");
    return {} if $answer->{status} == 404;
    my $skip = length "$ENV{TEST_NGINX_PREFIX}/";
    return { map { substr($_->{Key}, $skip)
                       => MIME::Base64::decode_base64($_->{Value} // '') }
             @{ JSON::PP::decode_json($answer->{content}) } };
}

# ---- etcd -----------------------------------------------------------------------

# On Consul's ports: no file has both.
sub etcd_start {
    return if defined $etcd;
    my ($port, $peer) = @ENV{map { "TEST_NGINX_CONSUL_PORT$_" } '', 2};
    my ($client_url, $peer_url) = map { "http://127.0.0.1:$_" } $port, $peer;
    $etcd = fork() // die "cannot fork: $!";
    if (!$etcd) {
        open STDOUT, '>>', "$folder/etcd.log";
        open STDERR, '>&', \*STDOUT;
        exec 'setpriv', '--pdeathsig', 'KILL', 'etcd', '--data-dir', "$folder/etcd",
            '--listen-client-urls', $client_url, '--advertise-client-urls', $client_url,
            '--listen-peer-urls', $peer_url, '--initial-advertise-peer-urls', $peer_url,
            '--initial-cluster', "default=$peer_url"
            or POSIX::_exit(127);
    }
    my $end = time + 30;
    while (time < $end) {
        return if $http->get("$client_url/health")->{content} =~ /"true"/;
        Time::HiRes::sleep(0.05);
        last if waitpid($etcd, POSIX::WNOHANG()) == $etcd;
    }
    die "etcd does not start:\n" . substr(slurp("$folder/etcd.log"), -3000);
}

sub etcd_stop {
    return if !defined $etcd;
    kill KILL => $etcd;
    waitpid $etcd, 0;
    undef $etcd;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        stop_server($_) for keys %servers;
        consul_stop();
        etcd_stop();
        $? = $status;
    }
}

1;
