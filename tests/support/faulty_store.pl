#!/usr/bin/perl
# An HTTP proxy before a store that misbehaves as told. One connection, one
# request at a time: enough for what zedcup's actors send.
#
#   faulty_store.pl LISTEN_PORT STORE_PORT MODE_FILE LOG_FILE
#
# MODE_FILE holds one word, looked at twenty times a second, also while an
# answer is under way:
#   pass       the store's own answers
#   error      500, as a server that knows no leader
#   garbage    bytes that are no HTTP
#   html       200 and a page, as a proxy's login form
#   empty      200 with an index and an empty list, as seen during elections
#   trickle    the store's answer, five bytes a second
#   hang       nothing at all; goes on where it was when the mode changes
#   lost       as pass, but what was under way before never hears again
# LOG_FILE gets a line for each request: its time, the mode and the target.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time sleep);

my ($port, $store, $mode_file, $log_file) = @ARGV;
my $listener = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 128, ReuseAddr => 1
) or die "port $port: $!";
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';

my %canned = (
    error => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 17\r\n\r\nNo cluster leader",
    garbage => "\x16\x03\x01\x02\x00\x00\xff" x 100,
    html => "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 29\r\n\r\n"
        . "<html><h1>Log in</h1></html>\n",
    empty => "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nX-Consul-Knownleader: true\r\n"
        . "Content-Length: 2\r\n\r\n[]",
);

sub mode {
    open(my $file, '<', $mode_file) or return 'pass';
    my $word = <$file> // 'pass';
    chomp $word;
    return $word;
}

# The head and body of one request; undef when the client has gone.
sub read_request {
    my ($client) = @_;
    my $text = '';
    while ($text !~ /\r\n\r\n/) {
        sysread($client, $text, 65536, length $text) or return;
    }
    my $head = $text =~ s/\A(.*?\r\n\r\n)//s ? $1 : '';
    my $length = $head =~ /^content-length:\s*(\d+)/mi ? $1 : 0;
    while (length $text < $length) {
        sysread($client, $text, 65536, length $text) or return;
    }
    return ($head, $text);
}

sub note {
    my ($head) = @_;
    my ($target) = $head =~ /\A\S+ (\S+)/;
    open(my $log, '>>', $log_file) or die "$log_file: $!";
    syswrite($log, sprintf("%.3f %s %s\n", time, mode(), $target // '?'));
}

# Relays the store's answer, in the manner of the mode of the moment.
sub relay {
    my ($client, $upstream) = @_;
    my $began = mode();
    my $input = IO::Select->new($upstream, $client);
    my ($held, $started, $ended) = ('', 0, 0);
    until ($ended && $held eq '') {
        my $now = mode();
        my $silent = $now eq 'hang' || ($now eq 'lost' && $began ne 'lost');
        if (my $canned = $canned{$now}) {
            syswrite($client, $canned) unless $started;
            return;
        }
        if (!$silent && length $held) {
            my $piece = $now eq 'trickle' ? 1 : length $held;
            syswrite($client, substr($held, 0, $piece, '')) or return;
            $started = 1;
            sleep 0.2 if $now eq 'trickle';
        }
        $input->remove($upstream) if $ended;
        for my $ready ($input->can_read(length $held && !$silent ? 0 : 0.05)) {
            my $got = sysread($ready, my $piece, 65536);
            return if $ready == $client;    # it has gone
            $got ? ($held .= $piece) : ($ended = 1);
        }
    }
    return;
}

while (my $client = $listener->accept) {
    next if fork;
    close $listener;
    if (my ($head, $body) = read_request($client)) {
        note($head);
        my $upstream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $store)
            or exit;
        $head =~ s/^connection:.*?\r\n//mi;
        $head =~ s/\r\n\r\n\z/\r\nConnection: close\r\n\r\n/;
        syswrite($upstream, $head . $body);
        relay($client, $upstream);
    }
    exit;
}
