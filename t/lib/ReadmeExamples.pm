package ReadmeExamples;

# Runs the examples of README.md as they are printed. An example is a fenced
# block below a line
#
#     <!-- example: NAME -->
#
# Only paths and ports are replaced. What a test needs around it is here: a
# folder, free loopback ports, nginx and Consul processes that end by pid.
#
# Used by readme.t alone; it does not go through Test::Nginx, because the
# examples are whole configurations.

use strict;
use warnings;

use Cwd ();
use File::Temp ();
use IO::Socket::INET;
use HTTP::Tiny;
use POSIX ();
use Time::HiRes qw(sleep time);

my $top = Cwd::cwd();
my $modules = $ENV{ZEDCUP_NGINX_MODULES} || '/usr/lib/nginx/modules';
my $module = $ENV{ZEDCUP_MODULE} || "$top/build/nginx/ngx_http_zedcup_module.so";
my $nginx = $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx';
my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0);
my %running;    # pid -> what it is
my $owner = $$;

# (name -> text) of all examples, and the list of fences without a name that
# ought to have one.
sub read_examples {
    my $path = shift;
    open(my $in, '<:encoding(UTF-8)', $path) or die "$path: $!";
    my (%examples, @nameless, $name, $text);
    while (my $line = <$in>) {
        if (defined $text) {
            if ($line =~ /^```\s*$/) {
                $examples{$name} = $text if defined $name;
                ($name, $text) = ();
                next;
            }
            $text .= $line;
        } elsif ($line =~ /^<!-- example: (\S+) -->/) {
            $name = $1;
        } elsif ($line =~ /^```(\w*)/) {
            push @nameless, "$path:$." if !defined $name && $1 ne '';
            $text = '';
        }
    }
    return (\%examples, \@nameless);
}

sub free_ports {
    my @held = map {
        IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!
    } 1 .. shift;
    return map { $_->sockport } @held;
}

# A folder that nginx's workers may write to.
sub new_folder {
    my $dir = File::Temp->newdir('zedcup-readme-XXXXXX', TMPDIR => 1);
    chmod(0755, "$dir");
    mkdir("$dir/store");
    my $uid = getpwnam('www-data');
    chown($uid, -1, "$dir/store") if $> == 0 && defined $uid;
    return $dir;
}

# An example's configuration with this run's paths, and ports by the hash.
sub localise {
    my ($text, $dir, $ports) = @_;
    my $quiet = join('', map { "    ${_}_temp_path $dir/$_;\n" }
                     qw(client_body proxy fastcgi uwsgi scgi));
    $text =~ s{/path/to/zedcup/build/nginx/ngx_http_zedcup_module\.so}{$module};
    $text =~ s{/path/to/zedcup/build/nginx/}{$module =~ s{[^/]*$}{}r}e;
    $text =~ s{/path/to/zedcup/}{$top/}g;
    $text =~ s{load_module \S+/ngx_stream_module.so;}{} if !-e "$modules/ngx_stream_module.so"; # built in
    $text =~ s{/usr/lib/nginx/modules/}{$modules/}g;
    $text =~ s{/var/lib/zedcup/}{$dir/store/}g;
    $text =~ s{error_log \S+}{error_log $dir/error.log};
    $text =~ s/^http \{$/pid $dir\/nginx.pid;\nhttp {\n    access_log off;\n$quiet/m;
    $text =~ s/\b(\d{4})\b/$ports->{$1} || $1/ge;
    return $text;
}

sub write_file {
    my ($path, $text) = @_;
    open(my $out, '>:encoding(UTF-8)', $path) or die "$path: $!";
    print {$out} $text;
    close($out) or die "$path: $!";
}

sub read_file {
    my $path = shift;
    open(my $in, '<', $path) or return '';
    local $/;
    return <$in> // '';
}

# Calls until it returns something true, at most so many seconds.
sub wait_for {
    my ($seconds, $what) = @_;
    my $end = time + $seconds;
    while (1) {
        my $result = $what->();
        return $result if $result || time > $end;
        sleep(0.05);
    }
}

sub start_process {
    my ($log, @command) = @_;
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open(STDOUT, '>>', $log);
        open(STDERR, '>>', $log);
        exec(@command) or POSIX::_exit(127);
    }
    $running{$pid} = $command[0];
    return $pid;
}

sub stop_process {
    my $pid = shift;
    return if !delete $running{$pid};
    kill('TERM', $pid);
    my $gone = sub { waitpid($pid, POSIX::WNOHANG()) != 0 };
    return if wait_for(5, $gone);
    kill('KILL', $pid);
    waitpid($pid, 0);
}

# In the foreground, as a child whose pid is known.
sub start_nginx {
    my ($dir, $conf) = @_;
    write_file("$dir/nginx.conf", $conf);
    local $ENV{LD_PRELOAD} = $ENV{ZEDCUP_PRELOAD} if $ENV{ZEDCUP_PRELOAD};
    local $ENV{ASAN_OPTIONS} = $ENV{ASAN_OPTIONS} // 'detect_leaks=0';
    return start_process("$dir/start.log", $nginx, '-p', "$dir", '-e',
                         "$dir/error.log", '-c', "$dir/nginx.conf",
                         '-g', 'daemon off;');
}

sub consul_binary {
    return $ENV{ZEDCUP_CONSUL} if $ENV{ZEDCUP_CONSUL};
    chomp(my $found = `command -v consul 2>/dev/null`);
    return $found || "$top/build/tools/usr/bin/consul";
}

# One server with a leader, or death with its log.
sub start_consul {
    my ($dir, $port) = @_;
    my ($server, $lan, $wan) = free_ports(3);
    write_file("$dir/consul.json", <<"END");
{ "server": true, "bootstrap": true, "bind_addr": "127.0.0.1",
  "data_dir": "$dir/consul", "performance": { "raft_multiplier": 1 },
  "connect": { "enabled": false },
  "ports": { "http": $port, "dns": -1, "grpc": -1, "server": $server,
             "serf_lan": $lan, "serf_wan": $wan } }
END
    my $pid = start_process("$dir/consul.log", consul_binary(), 'agent',
                            "-config-file=$dir/consul.json");
    my $url = "http://127.0.0.1:$port/v1/status/leader";
    wait_for(20, sub { $http->get($url)->{content} =~ /^"127/ })
        or die "Consul does not start:\n" . read_file("$dir/consul.log");
    return $pid;
}

# Where programs are that were fetched for the tests.
sub tools { return "$top/build/tools/usr/bin" }

# One member, or death with its log.
sub start_etcd {
    my ($dir, $port) = @_;
    my ($peers) = free_ports(1);
    local $ENV{PATH} = "$ENV{PATH}:" . tools();
    my ($own, $peer) = map { "http://127.0.0.1:$_" } $port, $peers;
    my $pid = start_process("$dir/etcd.log", 'etcd', '--data-dir', "$dir/etcd",
                            '--listen-client-urls', $own, '--advertise-client-urls', $own,
                            '--listen-peer-urls', $peer,
                            '--initial-advertise-peer-urls', $peer,
                            '--initial-cluster', "default=$peer");
    wait_for(20, sub { $http->get("$own/health")->{content} =~ /true/ })
        or die "etcd does not start:\n" . read_file("$dir/etcd.log");
    return $pid;
}

sub get {
    my ($port, $path) = @_;
    return $http->get("http://127.0.0.1:$port$path");
}

sub post {
    my ($port, $path, $text) = @_;
    return $http->post("http://127.0.0.1:$port$path", { content => $text });
}

END {
    if ($$ == $owner) {
        my $status = $?;
        stop_process($_) for keys %running;
        $? = $status;
    }
}

1;
