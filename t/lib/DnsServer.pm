package DnsServer;

# A small DNS server for tests, over UDP:
#
#     use DnsServer;
#     DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});
#     ... resolver 127.0.0.1:$TEST_NGINX_EXTRA_PORT; in a block
#
# It answers by the file, read anew for each question, one
# line a record:
#     NAME TTL ADDRESS        A or AAAA, by its form
#     NAME silent             no answer at all
# Any other name does not exist. What was asked is noted, a line each, in
# FILE.asked; in blocks FILE is $TEST_NGINX_DNS_FILE. Lua's side is t/lib/dns_fixture.lua.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Socket qw(inet_pton AF_INET AF_INET6);

my $owner = $$;
my $child;

use constant { TYPE_A => 1, TYPE_AAAA => 28, NXDOMAIN => 3 };

sub start {
    my ($file, $port) = @_;
    $ENV{TEST_NGINX_DNS_FILE} = $file;
    for my $path ($file, "$file.asked") {
        open my $out, '>', $path or die "$path: $!";
    }
    my $socket = IO::Socket::INET->new(
        Proto => 'udp', LocalAddr => '127.0.0.1',
        LocalPort => $port) or die "cannot bind: $!";
    $child = fork() // die "cannot fork: $!";
    return if $child;
    $SIG{ALRM} = 'DEFAULT';
    alarm 300;    # whatever becomes of us
    eval { serve($socket, $file) };
    POSIX::_exit(0);
}

sub serve {
    my ($socket, $file) = @_;
    while (defined(my $peer = $socket->recv(my $query, 512))) {
        my $answer = answer($query, $file) // next;
        $socket->send($answer, 0, $peer);
    }
}

# { name => [[ttl, address], ...] or 'silent' }
sub records {
    my %records;
    open my $in, '<', shift or return \%records;
    while (my $line = <$in>) {
        my ($name, $ttl, $address) = split ' ', $line;
        next if !defined $ttl;
        $ttl eq 'silent' ? $records{$name} = 'silent'
            : push @{ $records{$name} }, [$ttl, $address];
    }
    return \%records;
}

sub answer {
    my ($query, $file) = @_;
    my ($id, $rest) = (unpack('n', $query), substr($query, 12));
    my @labels;
    while ((my $length = unpack('C', $rest)) > 0) {
        push @labels, substr($rest, 1, $length);
        $rest = substr($rest, 1 + $length);
    }
    my $type = unpack('n', substr($rest, 1));
    my $name = lc join('.', @labels);
    my $found = records($file)->{$name};
    open my $log, '>>', "$file.asked";
    print $log "$name $type\n";
    close $log;
    return undef if defined $found && !ref $found;

    my @addresses = grep { ($_->[1] =~ /:/ ? TYPE_AAAA : TYPE_A) == $type }
        @{ $found // [] };
    my $records = join '', map {
        my ($ttl, $address) = @$_;
        my $data = inet_pton($address =~ /:/ ? AF_INET6 : AF_INET, $address);
        pack('n n n N n/a', 0xc00c, $type, 1, $ttl, $data)
    } @addresses;
    my $question = substr($query, 12, length($query) - 12 - length($rest) + 5);
    return pack('n6', $id, 0x8180 | ($found ? 0 : NXDOMAIN), 1,
                scalar @addresses, 0, 0) . $question . $records;
}

END {
    if ($$ == $owner && $child) {
        my $status = $?;
        kill KILL => $child;
        waitpid $child, 0;
        $? = $status;
    }
}

1;
