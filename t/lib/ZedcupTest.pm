package ZedcupTest;

# The set-up that all Test::Nginx files here share. A file starts with
#
#     use lib 't/lib';
#     use ZedcupTest 'no_plan';
#     run_tests();
#
# and runs from the top of the repository: prove -I t/lib t/http_request.t
#
# It picks a block of free loopback ports (below the ephemeral range) and a
# folder for nginx, so that several files can run at once, and exports to the
# blocks, as $TEST_NGINX_...:
#   SERVER_PORT                 the server that Test::Nginx talks to
#   BACKEND_PORT, BACKEND_PORT2 .. BACKEND_PORT4   for servers of the blocks
#   CLOSED_PORT                 nobody listens here
#   CONSUL_PORT .. CONSUL_PORT3 for ZedcupStore
#   EXTRA_PORT                  for a server of a process of its own
#   TOP                         the top of the repository
#   SOCKET_DIR                  a folder for unix sockets, short enough a path
#   CERT_DIR                    see certificate() below
# Every block gets the module lines (zedcup's own where ZEDCUP_MODULE names it),
# lua/ and t/lib/ on the package path, and a quiet socket log (blocks that care
# say so in http_config). ZEDCUP_TEST_STREAM adds the modules of stream {}, see
# StreamTest.pm. ZEDCUP_PRELOAD is preloaded into nginx: the sanitizers.

use strict;
use warnings;

BEGIN {
    use Cwd ();
    use Fcntl qw(:flock);
    use File::Path ();
    use File::Spec ();
    use File::Temp ();
    use IO::Socket::INET;

    my $top = Cwd::cwd();
    push @INC, "$top/build/tools/usr/share/perl5"; # where fetch_deb.sh puts it
    my $first = $ENV{ZEDCUP_TEST_FIRST_PORT} || 20000;
    my $blocks = 99;
    my $size = 10;

    # A block is taken while this process holds its lock file.
    our $lock;
    my $take_block = sub {
        my $start = $$ % $blocks;
        for my $i (0 .. $blocks - 1) {
            my $port = $first + $size * (($start + $i) % $blocks);
            my $path = File::Spec->catfile(File::Spec->tmpdir(),
                                           "zedcup-test-port-$port.lock");
            open($lock, '>>', $path) or next;
            flock($lock, LOCK_EX | LOCK_NB) or next;
            my @bound = map {
                IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                      LocalPort => $_, Listen => 1,
                                      ReuseAddr => 1)
            } $port .. $port + $size - 1;
            return $port if !grep { !defined } @bound;
        }
        die "no free block of ports from $first on";
    };

    my $port = $take_block->();
    our $sockets = File::Temp->newdir('zedcup-XXXXXX', TMPDIR => 1);
    chmod 0755, "$sockets";
    %ENV = (
        %ENV,
        TEST_NGINX_SERVER_PORT => $port,
        TEST_NGINX_SERVROOT => "$top/t/servroot_$port",
        TEST_NGINX_BACKEND_PORT => $port + 1,
        TEST_NGINX_BACKEND_PORT2 => $port + 2,
        TEST_NGINX_BACKEND_PORT3 => $port + 3,
        TEST_NGINX_BACKEND_PORT4 => $port + 4,
        TEST_NGINX_CONSUL_PORT => $port + 5,
        TEST_NGINX_CONSUL_PORT2 => $port + 6,
        TEST_NGINX_CONSUL_PORT3 => $port + 7,
        TEST_NGINX_EXTRA_PORT => $port + 8,
        TEST_NGINX_CLOSED_PORT => $port + 9,
        TEST_NGINX_TOP => $top,
        TEST_NGINX_SOCKET_DIR => "$sockets",
        TEST_NGINX_CERT_DIR => "$sockets",
    );
    my $modules = $ENV{ZEDCUP_NGINX_MODULES} || '/usr/lib/nginx/modules';
    $ENV{TEST_NGINX_BINARY} ||= '/usr/sbin/nginx';
    $ENV{TEST_NGINX_LOAD_MODULES} ||=
        join ' ', "$modules/ndk_http_module.so",
                  "$modules/ngx_http_lua_module.so", $ENV{ZEDCUP_MODULE} || ();
    # ZEDCUP_TEST_STREAM: beside them those of stream {}
    ($ENV{ZEDCUP_STREAM_MODULE} //= $ENV{ZEDCUP_MODULE} // '') =~ s/_http_zedcup/_stream_zedcup/;
    $ENV{TEST_NGINX_STREAM_MODULES} =
        join ' ', grep { -e } "$modules/ngx_stream_module.so", $ENV{ZEDCUP_STREAM_MODULE};
    $ENV{TEST_NGINX_LOAD_MODULES} .= " $ENV{TEST_NGINX_STREAM_MODULES}" if $ENV{ZEDCUP_TEST_STREAM};
    $ENV{TEST_NGINX_LD_PRELOAD} ||= $ENV{ZEDCUP_PRELOAD} if $ENV{ZEDCUP_PRELOAD};
    # What LuaJIT holds at the end is not for the leak checker.
    $ENV{ASAN_OPTIONS} ||= 'detect_leaks=0' if $ENV{ZEDCUP_PRELOAD};
    # Workers write where the tests do.
    $ENV{TEST_NGINX_WORKER_USER} ||= 'root' if $> == 0;
    $ENV{TEST_NGINX_LOG_LEVEL} ||= 'info';
}

# END blocks run in reverse order: this one, after Test::Nginx's own has stopped
# nginx. The folder stays for a look when something failed.
my $test_process = $$;
END {
    File::Path::remove_tree($ENV{TEST_NGINX_SERVROOT})
        if $$ == $test_process && Test::More->builder->is_passing
            && !$ENV{TEST_NGINX_NO_CLEAN};
}

use Test::Nginx::Socket -Base;

our @EXPORT = qw(certificate nginx_from);

log_level($ENV{TEST_NGINX_LOG_LEVEL});
no_long_string();
no_shuffle();

add_block_preprocessor(sub {
    my $block = shift;
    my $top = $ENV{TEST_NGINX_TOP};
    my $own = $block->http_config // '';
    my $log = $own =~ /lua_socket_log_errors/ ? ''
        : 'lua_socket_log_errors off;';
    # ZEDCUP_TEST_PLAIN: an nginx without ngx_lua
    $block->set_value('http_config', <<"END" . $own) if !$ENV{ZEDCUP_TEST_PLAIN};
    lua_package_path "$top/lua/?.lua;$top/t/lib/?.lua;;";
    $log
END
    $block->set_value('request', 'GET /t') if !defined $block->request;
});

# Whether nginx is that version or later: for where nginx itself differs.
sub nginx_from ($) {
    my @wanted = split /\./, shift;
    my ($is) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ m{/(\d+\.\d+\.\d+)};
    my @is = split /\./, $is;
    return ($is[0] <=> $wanted[0] || $is[1] <=> $wanted[1] || $is[2] <=> $wanted[2]) >= 0;
}

sub _write_file ($$) {
    my ($path, $text) = @_;
    open my $out, '>', $path or die "$path: $!";
    print $out $text;
    close $out or die "$path: $!";
}

# Makes a certificate for a name: $TEST_NGINX_CERT_DIR/NAME.crt and NAME.key. To
# be called before run_tests(). Self-signed, and good for signing others, unless
# options say:
#   san => 'IP:127.0.0.1'   what it is for, in place of DNS:NAME
#   signed_by => NAME       an earlier one
#   ended => 1              it was valid in 2020
sub certificate ($;@) {
    my ($name, %option) = @_;
    my $dir = $ENV{TEST_NGINX_CERT_DIR};
    my $base = "$dir/$name";
    my $issuer = $option{signed_by} // $name;
    my $san = $option{san} // "DNS:$name";
    _write_file("$base.cnf", <<"END");
[req]
distinguished_name = dn
prompt = no
[dn]
CN = $name
[ca]
default_ca = own
[own]
database = $base.index
new_certs_dir = $dir
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
x509_extensions = ext
[any]
commonName = supplied
[ext]
basicConstraints = CA:TRUE
subjectKeyIdentifier = hash
subjectAltName = $san
END
    _write_file("$base.index", '');
    my @dates = $option{ended} ? ('20200101000000Z', '20201231000000Z')
                               : ('20200101000000Z', '20491231000000Z');
    my $self = $issuer eq $name ? '-selfsign' : "-cert $dir/$issuer.crt";
    system("(openssl req -new -newkey rsa:2048 -nodes -config $base.cnf "
           . "-keyout $base.key -out $base.csr && openssl ca -batch -notext "
           . "-config $base.cnf $self -keyfile $dir/$issuer.key "
           . "-startdate $dates[0] -enddate $dates[1] -in $base.csr "
           . "-out $base.crt) >$base.log 2>&1") == 0
        or die "openssl cannot make a certificate for $name, see $base.log";
}

1;
