package PlainTest;

# An nginx without ngx_lua, whose store tests of their own write to. To be used
# before ZedcupTest and ZedcupStore; after them, plain_setup().
#
# Blocks may have
#   --- url: URL OPTIONS    of zedcup_store; Consul and the block's prefix else
#   --- main, --- config    more for http {} and for server {}
# nginx balances the instance "web" at /, and answers itself at /alive. The
# backends b1 .. b3 say who they are.

use strict;
use warnings;

BEGIN {
    $ENV{ZEDCUP_TEST_PLAIN} = 1;
    $ENV{TEST_NGINX_LOAD_MODULES} = $ENV{ZEDCUP_MODULE};
    $ENV{TEST_NGINX_LOG_LEVEL} = 'notice';
}

use Exporter 'import';
use File::Temp ();
use HTTP::Tiny ();
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();

our @EXPORT = qw(plain_setup asked serves put_host etcd_put etcd_delete spawn_nginx end_nginx
                 conf_test lua_writes log_of nginx_at use_store);

my $folder = File::Temp->newdir('zedcup-plain-XXXXXX', TMPDIR => 1);
my $owner = $$;
my %spawned;    # pid => 1

sub plain_setup {
    main::workers(2);
    main::worker_connections(512);
    main::master_on();
    main::no_root_location();
    $ZedcupStore::default_store = 'consul';
    main::add_block_preprocessor(\&_prepare);
}

sub _backends {
    return join '', map {
        my $port = $ENV{TEST_NGINX_BACKEND_PORT} + $_ - 1;
        "server { listen 127.0.0.1:$port; location / { return 200 b$_; } }\n"
    } 1 .. 3;
}

sub _prepare {
    my $block = shift;
    $block->set_value('no_error_log', "[alert]\n") if !defined $block->no_error_log;
    return if defined $block->must_die;
    my $url = $block->url // "consul://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/\$TEST_NGINX_PREFIX";
    my $own = ($block->http_config // '') . ($block->main // '');
    $block->set_value('http_config',
        "zedcup_store $url;\n$own" . _backends() . 'upstream app { zedcup web; }');
    $block->set_value('config',
        "location / { proxy_pass http://app; }\nlocation = /alive { return 200 yes; }\n"
        . ($block->config // ''));
}

# ---- what it serves ----------------------------------------------------------

# How often each body came in so many requests: "b1=4 b2=4"; errors by status.
sub asked {
    my ($n, $path) = @_;
    my %got;
    for (1 .. $n) {
        my ($status, $body) = ZedcupStore::get($path // '/');
        $got{$status == 200 ? $body : $status}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

sub serves {
    my ($name, $wanted, $path) = @_;
    my $got;
    ZedcupStore::wait_for($name, 10, sub { $got = asked(8, $path); return $got =~ $wanted })
        or main::diag("it serves $got");
}

# ---- writing to stores -------------------------------------------------------

# Host i of "web" is backend i, or on that port.
sub put_host {
    my ($i, $port, $instance) = @_;
    my $key = 'instances/' . ($instance // 'web') . "/pools/1/hosts/$i";
    ZedcupStore::consul_put("$key/host", '127.0.0.1');
    ZedcupStore::consul_put("$key/port", $port // $ENV{TEST_NGINX_BACKEND_PORT} + $i - 1);
}

sub _etcd {
    my ($what, %args) = @_;
    my %encoded = map { $_ => MIME::Base64::encode_base64($args{$_}, '') } keys %args;
    my $answer = HTTP::Tiny->new->post(
        "http://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/v3/kv/$what",
        { content => JSON::PP::encode_json(\%encoded) });
    $answer->{success} or die "etcd $what: $answer->{status} $answer->{content}";
}

# Keys are below the block's prefix.
sub etcd_put { _etcd('put', key => "$ENV{TEST_NGINX_PREFIX}/$_[0]", value => $_[1]) }

# All keys that begin so.
sub etcd_delete {
    my $key = "$ENV{TEST_NGINX_PREFIX}/$_[0]";
    (my $end = $key) =~ s/(.)\z/chr(1 + ord $1)/e;
    _etcd('deleterange', key => $key, range_end => $end);
}

# Writes an instance to an embedded store, by an nginx with Lua that does nothing
# else; hosts as "b1" .. "b3".
sub lua_writes {
    my ($path, $instance, @hosts) = @_;
    my $list = join ', ', map {
        /(\d)/;
        sprintf '{ host = "127.0.0.1", port = %d }', $ENV{TEST_NGINX_BACKEND_PORT} + $1 - 1
    } @hosts;
    my $modules = $ENV{ZEDCUP_NGINX_MODULES} || '/usr/lib/nginx/modules';
    my $port = $ENV{TEST_NGINX_BACKEND_PORT4};
    my $pid = spawn_nginx('writer', <<"END", <<"END2");
load_module $modules/ndk_http_module.so;
load_module $modules/ngx_http_lua_module.so;
load_module $ENV{ZEDCUP_MODULE};
END
lua_package_path "$ENV{TEST_NGINX_TOP}/lua/?.lua;;";
lua_shared_dict zedcup_cache 1m; lua_shared_dict zedcup_locks 1m; lua_shared_dict zedcup_ipc 1m;
init_by_lua_block { assert(require("zedcup").init({ prefix = "zedcup", embedded = { path = "$path" } })) }
init_worker_by_lua_block { require("zedcup").run_workers() }
server {
    listen 127.0.0.1:$port;
    location / { content_by_lua_block {
        local ok, err = require("zedcup").configure_instance("$instance", { pools = { { hosts = { $list } } } })
        ngx.print(ok and "written" or err)
    } }
}
END2
    my ($status, $body) = nginx_at($port, '/');
    end_nginx($pid);
    die "the writer says $status $body" if $body ne 'written';
}

# ---- an nginx of its own -----------------------------------------------------

sub _write {
    my ($path, $text) = @_;
    open my $out, '>', $path or die "$path: $!";
    print $out $text;
    close $out or die "$path: $!";
}

sub _conf {
    my ($name, $main, $http) = @_;
    my $dir = "$folder/$name";
    mkdir $dir;
    my $user = $> == 0 ? 'user root;' : '';
    my $temp = join ' ', map { "${_}_temp_path $dir/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    _write("$dir/nginx.conf", <<"END");
$main
$user
pid $dir/nginx.pid;
error_log $dir/error.log notice;
events { worker_connections 256; }
http { access_log off; $temp
$http
}
END
    return $dir;
}

# One process that does everything: `daemon off; master_process off;`. It ends
# with the test. $full: no file may grow beyond so many KiB, as on a full disk.
sub spawn_nginx {
    my ($name, $main, $http, $full) = @_;
    my $dir = _conf($name, "$main\ndaemon off; master_process off;", $http);
    my $pid = fork() // die "cannot fork: $!";
    if (!$pid) {
        $ENV{LD_PRELOAD} = $ENV{ZEDCUP_PRELOAD} if $ENV{ZEDCUP_PRELOAD};
        my @limit = $full ? ('prlimit', '--fsize=' . 1024 * $full) : ();
        $SIG{XFSZ} = 'IGNORE'; # EFBIG, in place of a signal
        exec 'setpriv', '--pdeathsig', 'KILL', @limit, $ENV{TEST_NGINX_BINARY}, '-p', $dir,
            '-e', "$dir/error.log", '-c', "$dir/nginx.conf" or POSIX::_exit(127);
    }
    $spawned{$pid} = 1;
    return $pid;
}

sub log_of { return ZedcupStore::slurp("$folder/$_[0]/error.log") }

# Quits it, and returns its exit status.
sub end_nginx {
    my ($pid, $signal) = @_;
    delete $spawned{$pid};
    kill $signal // 'QUIT' => $pid;
    waitpid $pid, 0;
    return $?;
}

# Asks until it listens.
sub nginx_at {
    my ($port, $path) = @_;
    my $answer;
    for (1 .. 400) {
        $answer = HTTP::Tiny->new(timeout => 15)->get("http://127.0.0.1:$port$path");
        last if $answer->{status} != 599;
        Time::HiRes::sleep(0.02);
    }
    return ($answer->{status}, $answer->{content});
}

# What `nginx -t` says of http {} with these lines, without its own names.
sub conf_test {
    my $http = shift;
    my $dir = _conf('test', "load_module $ENV{ZEDCUP_MODULE};", $http);
    local $ENV{LD_PRELOAD} = $ENV{ZEDCUP_PRELOAD} if $ENV{ZEDCUP_PRELOAD};
    my $said = `$ENV{TEST_NGINX_BINARY} -t -p $dir -e $dir/error.log -c $dir/nginx.conf 2>&1`;
    $said =~ s/\A.*\[emerg\] (?:\d+#\d+: )?//s;
    $said =~ s/ in \S+:\d+\n.*//s;
    return $said =~ /test is successful/ ? 'ok' : $said;
}

# Another store for the block's nginx, and a reload.
sub use_store {
    my $url = shift;
    ZedcupStore::edit_conf(sub { s/zedcup_store [^;]*;/zedcup_store $url;/ });
    return ZedcupStore::reload();
}

END {
    if ($$ == $owner) {
        my $status = $?;
        end_nginx($_, 'KILL') for keys %spawned;
        $? = $status;
    }
}

1;
