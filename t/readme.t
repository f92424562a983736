# The examples of README.md, run as they are printed: the two configurations,
# the keys put with Consul's own tool, and every piece of Lua.
use strict;
use warnings;

use lib 't/lib';
use DnsServer;
use IO::Socket::INET;
use ReadmeExamples;
use Test::More;

my ($examples, $nameless) = ReadmeExamples::read_examples('README.md');
is_deeply($nameless, [], 'every example with a language has a name to be run by');

my %untried = map { $_ => 1 } keys %$examples;

sub example {
    my $name = shift;
    delete $untried{$name};
    return $examples->{$name} // BAIL_OUT("README.md has no example $name");
}

# Two errors belong to what is tried here: half a host in the store, and another
# worker's first look at an instance that this one has just written.
my $expected_error = qr{hosts/3/host: required$|no such instance: web,};

sub no_alarm {
    my ($dir, $what) = @_;
    my @bad = grep { /\[(error|alert|crit|emerg)\]/ && !/$expected_error/ }
        split /\n/, ReadmeExamples::read_file("$dir/error.log");
    is_deeply(\@bad, [], "$what: nothing in the error log");
}

# Asks until that many answers came; which host answered how often.
sub spread {
    my ($port, $count) = @_;
    my %seen;
    for (1 .. $count) {
        my $answer = ReadmeExamples::get($port, '/');
        $answer->{content} =~ s/\n\z//;
        ++$seen{$answer->{status} == 200 ? $answer->{content} : $answer->{status}};
    }
    return \%seen;
}

# The names of hosts that answer, once they are these.
sub serves_only {
    my ($port, @names) = @_;
    my $seen;
    ReadmeExamples::wait_for(5, sub {
        $seen = spread($port, 12);
        "@{[sort keys %$seen]}" eq "@names";
    });
    return join(' ', sort keys %$seen);
}

sub configured {
    my $port = shift;
    my $answer;
    ReadmeExamples::wait_for(10, sub {
        $answer = ReadmeExamples::get($port, '/configure');
        $answer->{content} eq "ok\n";
    });
    return $answer->{content};
}

sub with_nginx {
    my ($name, $dir, %ports) = @_;
    my $conf = ReadmeExamples::localise(example($name), $dir, \%ports);
    my $nginx = ReadmeExamples::start_nginx($dir, $conf);
    is(configured($ports{8080}), "ok\n", "$name: writes the instance");
    return $nginx;
}

sub ports {
    my ($front, $web01, $web02, $consul) = ReadmeExamples::free_ports(4);
    return (8080 => $front, 9001 => $web01, 9002 => $web02, 8500 => $consul);
}

# A DNS server by which the name is 127.0.0.1; its port.
sub dns {
    my ($dir, $name) = @_;
    my ($port) = ReadmeExamples::free_ports(1);
    DnsServer::start("$dir/dns", $port);
    ReadmeExamples::write_file("$dir/dns", "$name 60 127.0.0.1\n");
    return $port;
}

# ---- Consul ----------------------------------------------------------------

{
    my $dir = ReadmeExamples::new_folder();
    my %ports = ports();
    my $consul = ReadmeExamples::start_consul($dir, $ports{8500});
    my $nginx = with_nginx('consul.conf', $dir, %ports);
    my $front = $ports{8080};
    is(serves_only($front, qw(web01 web02)), 'web01 web02', 'both hosts answer');

    my $kv = example('kv.sh');
    $kv =~ s/\b9001\b/$ports{9001}/g;
    my ($tool) = ReadmeExamples::consul_binary() =~ m{^(.*)/[^/]+$};
    local $ENV{PATH} = "$tool:$ENV{PATH}";
    local $ENV{CONSUL_HTTP_ADDR} = "http://127.0.0.1:$ports{8500}";
    my @lines = split /\n/, $kv;
    my $put = sub {
        my $line = shift @lines;
        my $out = `$line 2>&1`;
        is($?, 0, $line) or diag($out);
        return $out;
    };

    $put->();   # weight 3
    my $heavy = ReadmeExamples::wait_for(5, sub {
        (spread($front, 40)->{web02} // 0) >= 26;
    });
    ok($heavy, 'a heavier host gets more');
    $put->();   # up false
    is(serves_only($front, 'web02'), 'web02', 'a host is drained');
    $put->();   # up true
    is(serves_only($front, qw(web01 web02)), 'web01 web02', 'and is back');
    $put->();   # a third host: its port
    $put->();   # and its address
    my $three = sub {
        ReadmeExamples::read_file("$dir/error.log") =~ /hosts\/3\/host: required/;
    };
    ok(ReadmeExamples::wait_for(5, $three), 'half a host is reported by its key');
    $put->();   # and goes again
    $put->();   # a global setting
    my $shown = $put->();
    like($shown, qr{^zedcup/instances/web/pools/1/hosts/2/weight:3$}m,
         'the keys are as the README says');
    unlike($shown, qr{hosts/3/}, 'the third host is gone');
    is_deeply(\@lines, [], 'all lines were run');

    ReadmeExamples::stop_process($nginx);
    ReadmeExamples::stop_process($consul);
    no_alarm($dir, 'consul.conf');
}

# ---- the embedded store ----------------------------------------------------

{
    my $dir = ReadmeExamples::new_folder();
    my %ports = ports();
    my $nginx = with_nginx('embedded.conf', $dir, %ports);
    my $front = $ports{8080};
    is(serves_only($front, qw(web01 web02)), 'web01 web02', 'both hosts answer');
    my $answer = ReadmeExamples::post($front, '/form?a=b', 'x' x 200_000);
    is($answer->{status}, 200, 'a request with a large body goes through');
    is((stat("$dir/store/store.db"))[2] & 0777, 0600, 'the file is its owner\'s');
    ReadmeExamples::stop_process($nginx);
    no_alarm($dir, 'embedded.conf');
}

# ---- stream ----------------------------------------------------------------

{
    my $dir = ReadmeExamples::new_folder();
    my %ports = ports();
    my $consul = ReadmeExamples::start_consul($dir, $ports{8500});
    my $kv = example('stream.sh');
    $kv =~ s/\b(900[12])\b/$ports{$1}/g;
    my ($tool) = ReadmeExamples::consul_binary() =~ m{^(.*)/[^/]+$};
    local $ENV{PATH} = "$tool:$ENV{PATH}";
    local $ENV{CONSUL_HTTP_ADDR} = "http://127.0.0.1:$ports{8500}";
    for my $line (split /\n/, $kv) {
        my $out = `$line 2>&1`;
        is($?, 0, $line) or diag($out);
    }
    my $conf = ReadmeExamples::localise(example('stream.conf'), $dir, \%ports);
    my $nginx = ReadmeExamples::start_nginx($dir, $conf);
    my $session = sub {
        my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ports{8080}", Timeout => 5);
        return $socket ? readline($socket) // '' : '';
    };
    my $both = ReadmeExamples::wait_for(10, sub {
        join('', sort map { $session->() } 1 .. 2) eq "db01\ndb02\n";
    });
    ok($both, 'both hosts have sessions');
    ReadmeExamples::stop_process($nginx);
    ReadmeExamples::stop_process($consul);
    no_alarm($dir, 'stream.conf');
}

# ---- lreu ------------------------------------------------------------------

{
    my $dir = ReadmeExamples::new_folder();
    my %ports = ports();
    ($ports{2379}) = ReadmeExamples::free_ports(1);
    my $etcd = ReadmeExamples::start_etcd($dir, $ports{2379});
    my $conf = ReadmeExamples::localise(example('lreu.conf'), $dir, \%ports);
    my $nginx = ReadmeExamples::start_nginx($dir, $conf);
    my $front = $ports{8080};
    local $ENV{ETCDCTL_API} = 3;
    local $ENV{ETCDCTL_ENDPOINTS} = "http://127.0.0.1:$ports{2379}";
    local $ENV{PATH} = "$ENV{PATH}:" . ReadmeExamples::tools();
    my $commands = example('lreu.sh');
    $commands =~ s/\b(900[12])\b/$ports{$1}/g;
    my @lines = split /\n/, $commands;
    my $put = sub {
        my $line = shift @lines;
        my $out = `$line 2>&1`;
        is($?, 0, $line) or diag($out);
    };
    $put->();
    my $shown = sub { ReadmeExamples::get($front, '/peers')->{content} =~ /"port"/ };
    ok(ReadmeExamples::wait_for(10, $shown), 'a first peer');
    is(serves_only($front, 'peer1'), 'peer1', 'it answers');
    $put->();
    is(serves_only($front, qw(peer1 peer2)), 'peer1 peer2', 'both peers');
    like(ReadmeExamples::get($front, '/peers')->{content}, qr/"weight":3/, 'are shown');
    $put->();
    is(serves_only($front, 'peer2'), 'peer2', 'one is down');
    $put->();
    is_deeply(\@lines, [], 'all lines were run');
    is(serves_only($front, 'peer2'), 'peer2', 'and gone');
    ReadmeExamples::stop_process($nginx);
    ReadmeExamples::stop_process($etcd);
    no_alarm($dir, 'lreu.conf');
}

# ---- Lua -------------------------------------------------------------------

my %expected = (
    'connect.lua' => qr{\AHTTP/1.1 200 OK\nweb0[12]\n\n\z},
    'drain.lua' => qr{\A\z},
    'dynamic.lua' => qr{\A127.0.0.1:\d+ weight 1 drained\n127.0.0.1:\d+ weight 2\n\[::1\]:9003 weight 1 backup\n\z},
    'events.lua' => qr{\Apool primary, host web0[12]\n200 text/plain\n\z},
    'http.lua' => qr{\A200 web01\n\nweb01\n\z},
    'list.lua' => qr{\Athere is web\ninstance: web\n\z},
    'names.lua' => qr{\A200\n\z},
    'tls.lua' => qr{\Aok\n\z},
    'scope.lua' => qr{\Abound\n\z},
    'state.lua' => qr{\Aerrors: 1\nof the host: 1\n\z},
);

{
    my $dir = ReadmeExamples::new_folder();
    my %ports = ports();
    my $locations = '';
    for my $name (sort keys %expected) {
        my $lua = example($name);
        $locations .= "location = /$name { content_by_lua_block {\n$lua\n} }\n";
    }
    # what the text says of hosts behind a unix socket
    $locations .= <<"END";
location = /unix { content_by_lua_block {
    local zedcup = require("zedcup")
    assert(zedcup.configure_instance("unix", { pools = { { hosts = {
        { host = "unix:$dir/backend.sock" } } } } }))
    ngx.print(assert(zedcup.create_handler("unix"):request({})):read_body())
} }
END
    my $conf = example('consul.conf');
    $conf =~ s{consul = \{[^\}]*\}}{embedded = { path = "/var/lib/zedcup/store.db" }}
        or die;
    $conf =~ s{(location = /configure)}{default_type text/plain;\n$locations\n$1};
    $conf =~ s/(server \{ listen 127.0.0.1:9001;)/default_type text\/plain;\n$1/;
    my $unix = qq{server { listen unix:$dir/backend.sock; return 200 "host \$http_host"; }};
    $conf =~ s/(server \{ listen 127.0.0.1:9002;)/$unix\n$1/;
    my $parts = example('names.conf') . example('dynamic.conf');
    $conf =~ s/^http \{\n/http {\n$parts/m or die;
    $conf = ReadmeExamples::localise($conf, $dir, \%ports);
    my $dns_port = dns($dir, 'web.example.com');
    $conf =~ s/resolver 127\.0\.0\.53/resolver 127.0.0.1:$dns_port/ or die;
    my $nginx = ReadmeExamples::start_nginx($dir, $conf);
    my $front = $ports{8080};
    is(configured($front), "ok\n", 'the instance for the Lua examples');
    chmod(0777, "$dir/backend.sock");

    for my $name (sort { ($a eq 'drain.lua') <=> ($b eq 'drain.lua') } sort keys %expected) {
        my $answer = ReadmeExamples::get($front, "/$name");
        is($answer->{status}, 200, "$name: runs");
        like($answer->{content}, $expected{$name}, "$name: its output");
    }
    is(serves_only($front, 'web02'), 'web02', 'drain.lua: the host is drained');
    is(ReadmeExamples::get($front, '/unix')->{content}, 'host localhost',
       'the Host header of a host behind a unix socket');
    ReadmeExamples::stop_process($nginx);
    no_alarm($dir, 'Lua');
}

is_deeply([sort keys %untried], [], 'no example was left out');

done_testing();
