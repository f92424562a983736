#!/usr/bin/perl
# Propagation into an nginx without Lua, seen from outside: prints how many
# milliseconds after the start of a change each worker's requests went by it, and
# as "put MS" when the store itself answered.
#
#   propagation_plain.pl NGINX_PORT WORKERS ROUNDS STORE STORE_PORT PORT PORT
#
# A connection to each worker stays open (nginx listens with reuseport and says
# its pid); a request on each, every millisecond, is proxied to one of the two
# ports, which answer with their number. A change writes the other number to the
# store; STORE is "consul" or "etcd".
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use MIME::Base64;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my ($nginx, $workers, $rounds, $store, $store_port, @ports) = @ARGV;
my $key = 'zedcup/instances/bench/pools/1/hosts/1/port';

sub now { return 1000 * clock_gettime(CLOCK_MONOTONIC) }

sub connection {
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => shift)
        // die "no connection: $!\n";
}

sub send_request { syswrite $_[0], "GET / HTTP/1.1\r\nHost: bench\r\n\r\n" or die "nginx left\n" }

# (pid, body) of an answer; no pid where it is an error page.
sub read_answer {
    my $text = '';
    until ($text =~ /\r\n\r\n(.+)\n\z/s) {
        sysread($_[0], $text, 4096, length $text) or die "nginx left\n";
    }
    return $text =~ /^X-Worker: (\d+).*\n(.+)\n\z/ms;
}

# { pid => connection }, one of each worker.
sub connect_workers {
    my %found;
    for (1 .. 1000) {
        my $socket = connection($nginx);
        send_request($socket);
        my ($pid) = read_answer($socket);
        defined $pid ? ($found{$pid} //= $socket) : sleep 0.01;
        return \%found if keys %found == $workers;
    }
    die "not all workers serve\n";
}

sub change {
    my ($port) = @_;
    return "PUT /v1/kv/$key", $port if $store eq 'consul';
    my ($name, $value) = map { encode_base64($_, '') } $key, $port;
    return 'POST /v3/kv/put', qq({"key":"$name","value":"$value"});
}

# Sends it; the answer is left for settle().
sub put {
    my ($socket, $port) = @_;
    my ($target, $body) = change($port);
    syswrite $socket, "$target HTTP/1.1\r\nHost: store\r\nConnection: close\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body" or die "the store left\n";
}

sub settle {
    my ($socket) = @_;
    my $text = '';
    while (sysread $socket, $text, 65536, length $text) { }
    $text =~ m{\AHTTP/1.. 200} or die "the store says: $text\n";
}

# One request on each of these; the times of those that went to that port. The
# store's socket is watched meanwhile: $answered is when it had something to say.
my $answered;

sub look {
    my ($open, $port, $writer) = @_;
    my $select = IO::Select->new(values %$open, defined $answered ? () : $writer);
    my %pid_of = map { $open->{$_} => $_ } keys %$open;
    my %seen;
    send_request($_) for values %$open;
    while (%pid_of) {
        my @ready = $select->can_read(5) or die "nginx does not answer\n";
        for my $socket (@ready) {
            $select->remove($socket);
            if ($socket == $writer) {
                $answered = now();
                next;
            }
            my (undef, $body) = read_answer($socket);
            my $pid = delete $pid_of{$socket};
            $seen{$pid} = now() if $body eq $port;
        }
    }
    return \%seen;
}

# Until that time.
sub rest {
    my ($until, $writer) = @_;
    my $ms = $until - now();
    if ($ms > 0 && !defined $answered && IO::Select->new($writer)->can_read($ms / 1000)) {
        $answered = now();
        $ms = $until - $answered;
    }
    sleep $ms / 1000 if $ms > 0;
}

sub follow {
    my ($all, $port) = @_;
    my $writer = connection($store_port);
    my %open = %$all;
    my @took;
    undef $answered;
    my $before = now();
    put($writer, $port);
    while (%open) {
        my $began = now();
        my $seen = look(\%open, $port, $writer);
        push @took, map { $_ - $before } values %$seen;
        delete @open{ keys %$seen };
        die "a worker did not follow within 5 s\n" if now() - $before > 5000;
        rest($began + 1, $writer) if %open;
    }
    settle($writer);
    return (($answered // now()) - $before, @took);
}

my $first = connection($store_port);
put($first, $ports[0]);
settle($first);
my $all = connect_workers();
for my $round (1 .. $rounds) {
    my ($put, @took) = follow($all, $ports[$round % 2]);
    printf "put %.3f\n", $put;
    printf "%.3f\n", $_ for @took;
    # not in step with anybody's timer
    sleep 0.003 + rand 0.02;
}
