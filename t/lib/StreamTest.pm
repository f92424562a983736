package StreamTest;

# What tests of stream {} add to ZedcupTest and ZedcupStore:
#
#     BEGIN { $ENV{ZEDCUP_TEST_STREAM} = 1 }
#     use lib 't/lib';
#     use ZedcupTest 'no_plan';
#     use ZedcupStore;
#     use StreamTest;
#
# A block may have
#   --- stream          the content of stream {}; the default proxies a TCP port to
#                       `upstream db { zedcup web; }`
#   --- stream_after    it stands behind http {}
# Sessions are logged to a file of the block, as way_log() gives it. Exported:
#   STREAM_PORT         where nginx listens for sessions

use strict;
use warnings;

use Exporter 'import';
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use POSIX ();
use Test::More ();
use Test::Nginx::Socket;
use Time::HiRes ();
use ZedcupStore;

our @EXPORT = qw(talk talks hold said way_log configure spawn_talkers talker stop_talkers
                 spawn_datagrams ask_datagram nginx_says);

# Stores that are processes have the block's other free ports.
$ENV{TEST_NGINX_STREAM_PORT} //= $ENV{TEST_NGINX_CONSUL_PORT};

my $log = "$ENV{TEST_NGINX_SOCKET_DIR}/stream.log";
my %talkers; # name => pid

our $server = "server { listen 127.0.0.1:$ENV{TEST_NGINX_STREAM_PORT}; proxy_pass db; }";

add_block_preprocessor(sub {
    my $block = shift;
    stop_talkers();
    unlink $log;
    return if defined $block->must_die;
    my $stream = $block->stream // "upstream db { zedcup web; }\n$server";
    my $where = defined $block->stream_after ? 'post_main_config' : 'main_config';
    $block->set_value($where, <<"END");
stream {
    log_format way '\$zedcup_instance \$zedcup_pool \$zedcup_host [\$upstream_addr] \$status';
    access_log $log way;
    $stream
}
END
});

# The lines of sessions that have ended.
sub way_log {
    open my $in, '<', $log or return ();
    chomp(my @lines = <$in>);
    return @lines;
}

# Runs the block's `lua`, which configures an instance and says ok.
sub configure {
    my $args = shift // '';
    Test::More::is(body_of("/t?$args"), 'ok', "configured $args");
}

# ---- sessions ------------------------------------------------------------------

# A session with nginx, undef where it is refused.
sub hold {
    my ($port, $from) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', Timeout => 5,
        PeerPort => $port // $ENV{TEST_NGINX_STREAM_PORT}, $from ? (LocalAddr => $from) : ());
}

# The next line of a session; '' when it is closed or nothing comes.
sub said {
    my ($socket, $seconds) = @_;
    my $end = Time::HiRes::time() + ($seconds // 10);
    my $line = '';
    while ($line !~ /\n/) {
        my $left = $end - Time::HiRes::time();
        last if $left <= 0 || !IO::Select->new($socket)->can_read($left);
        last if !sysread $socket, $line, 1, length $line;
    }
    chomp $line;
    return $line;
}

# What the other end of a session says first, and the session ends.
sub talk {
    my $socket = hold(@_) or return 'refused';
    my $line = said($socket);
    close $socket;
    return $line eq '' ? 'closed' : $line;
}

# "b1=2 b2=1": who spoke in n sessions, one after the other.
sub talks {
    my ($n, @where) = @_;
    my %got;
    $got{talk(@where)}++ for 1 .. $n;
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

# ---- servers ---------------------------------------------------------------------

# A server that says its name and then repeats every line, in a process of its own.
sub talker {
    my ($name, $address, $port) = @_;
    my $serve = sub { _talk($name, shift) };
    $talkers{$name} = $address && $address =~ /^unix:(.*)/
        ? _fork_unix($1, $serve) : spawn_server($serve, $address, $port);
    return $talkers{$name};
}

# b1, b2, … on the block's backend ports.
sub spawn_talkers {
    talker("b$_", '127.0.0.1', $ENV{TEST_NGINX_BACKEND_PORT} + $_ - 1) for 1 .. shift;
}

# Those named, or all.
sub stop_talkers {
    my @names = @_ ? @_ : keys %talkers;
    stop_server(delete $talkers{$_}) for grep { $talkers{$_} } @names;
}

sub _fork_unix {
    my ($path, $serve) = @_;
    unlink $path;
    my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 16) or die "$path: $!";
    return ZedcupStore::serve_in_child($listener, $serve);
}

sub _talk {
    my ($name, $listener) = @_;
    my $select = IO::Select->new($listener);
    while (1) {
        for my $socket ($select->can_read) {
            if ($socket == $listener) {
                my $client = $listener->accept or next;
                syswrite $client, "$name\n";
                $select->add($client);
            } elsif (sysread $socket, my $text, 4096) {
                syswrite $socket, $text;
            } else {
                $select->remove($socket);
                close $socket;
            }
        }
    }
}

# Answers each datagram with its name, after some seconds; never, where that is
# negative.
sub spawn_datagrams {
    my ($name, $port, $after) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1',
                                       LocalPort => $port) or die "udp $port: $!";
    $talkers{$name} = ZedcupStore::serve_in_child($socket, sub {
        while (defined $socket->recv(my $text, 4096)) {
            next if ($after // 0) < 0;
            Time::HiRes::sleep($after) if $after;
            $socket->send("$name $text");
        }
    });
}

# What comes back for one datagram, or ''.
sub ask_datagram {
    my ($text, $seconds, $port) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '127.0.0.1',
        PeerPort => $port // $ENV{TEST_NGINX_STREAM_PORT}) or die $!;
    $socket->send($text);
    return '' if !IO::Select->new($socket)->can_read($seconds // 5);
    my $answer;
    return defined $socket->recv($answer, 4096) ? $answer : '';
}

# ---- configurations that are refused -----------------------------------------------

# What `nginx -t` says to modules and a configuration. `env` goes before it.
sub nginx_says {
    my ($modules, $conf, $env) = @_;
    my $path = "$ENV{TEST_NGINX_SOCKET_DIR}/try.conf";
    open my $out, '>', $path or die "$path: $!";
    print $out map({ "load_module $_;\n" } split ' ', $modules),
        "pid $path.pid;\nerror_log stderr;\nevents {}\n$conf\n";
    close $out;
    my $preload = $ENV{TEST_NGINX_LD_PRELOAD} // '';
    $env //= "LD_PRELOAD='$preload'";
    return scalar `$env $ENV{TEST_NGINX_BINARY} -t -e stderr -p $ENV{TEST_NGINX_SOCKET_DIR} -c $path 2>&1`;
}

1;
