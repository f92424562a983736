package LreuTest;

# What tests of lreu add to ZedcupStore, whose preprocessor comes after this one:
#
#     use lib 't/lib';
#     use ZedcupTest 'no_plan';
#     use ZedcupStore;
#     use LreuTest;
#     run_tests();
#
# Every block has no zedcup store unless it says so, the dictionaries `lreu` (1m)
# and `log` (1m), the picker on `lreu` in every worker, and
#   --- etcd: beside        an etcd on CONSUL_PORT, and $TEST_NGINX_TREE, a path of
#                           the block's own in it (/t3/)
#   --- syncer              options of syncer.init() beside storage; empty: etcd's port and
#                           that path
#   --- dict                the size of `lreu`
#   --- init_worker         Lua after both, in every worker
#   --- lua                 has lreu (t/lib/lreu_fixture.lua), picker and dict too
# A second server on EXTRA_PORT, with reuseport, for each_worker():
#   /pick?s=NAME            a peer of a service
#   /show?s=NAME            all of them, one line: name/weight, status if down, checkdown

use strict;
use warnings;

use Exporter 'import';
use HTTP::Tiny ();
use JSON::PP ();
use MIME::Base64 ();
use Time::HiRes ();
use Test::More ();
use Test::Nginx::Socket;
use ZedcupStore;

our @EXPORT = qw(etcdctl etcd_put etcd_del etcd_txn all_show feeder_pid
                 start_load load_count stop_load);

my $number = 0;
my $http = HTTP::Tiny->new(timeout => 10);

our $servers = <<'END';
    location = /pick {
        content_by_lua_block {
            local peer, err = require("lreu.picker").rr(ngx.var.arg_s)
            ngx.say(ngx.worker.pid(), " ", peer and peer.name or err)
        }
    }
    location = /show {
        content_by_lua_block {
            ngx.say(ngx.worker.pid(), " ", require("lreu_fixture").summary(ngx.var.arg_s))
        }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    ++$number;
    $block->set_value('store', 'none') if !defined $block->store;
    $ENV{TEST_NGINX_TREE} = "/t$number/";
    if (($block->etcd // '') eq 'beside') {
        ZedcupStore::etcd_start();
        etcdctl('del', '--prefix', "/t$number/");
    }
    my $own = $block->http_config // '';
    my $head = '';
    my $size = $block->dict // '1m';
    chomp $size;
    $head .= "lua_shared_dict lreu $size;\n" if $own !~ /lua_shared_dict lreu /;
    $head .= "lua_shared_dict log 1m;\n" if $own !~ /lua_shared_dict log /;
    $head .= "server { listen 127.0.0.1:$ENV{TEST_NGINX_EXTRA_PORT} reuseport;\n$servers}\n"
        if $own !~ /TEST_NGINX_EXTRA_PORT/ && !defined $block->alone;
    my $sync = '';
    my $options = $block->syncer // 'none';
    if ($options !~ /^none/) {
        $options = qq{etcd_port = $ENV{TEST_NGINX_CONSUL_PORT}, etcd_path = "/t$number/"}
            if $options !~ /\S/;
        $sync = qq{require("lreu.syncer").init({ storage = ngx.shared.lreu, $options })\n};
    }
    if ($own !~ /init_worker_by_lua/) {
        $block->set_value('init_worker', $sync
            . "require('lreu.picker').init(ngx.shared.lreu)\n" . ($block->init_worker // ''));
    }
    $block->set_value('http_config', $head . $own);
    $block->set_value('config', ($block->config // '') . $servers)
        if ($block->config // '') !~ m{location = /pick };
    $block->set_value('lua', 'local lreu, picker, dict = require("lreu_fixture"), '
        . qq{require("lreu.picker"), ngx.shared.lreu\n} . $block->lua) if defined $block->lua;
});

# ---- etcd ----------------------------------------------------------------------

sub etcdctl {
    local $ENV{ETCDCTL_API} = 3;
    my $pid = open(my $out, '-|', 'etcdctl', "--endpoints=127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}", @_)
        or die "etcdctl: $!";
    local $/;
    my $text = <$out> // '';
    close $out;
    die "etcdctl @_: $text" if $?;
    return $text;
}

# Keys are below the block's path; no value: deletes.
sub etcd_put { my ($key, $value) = @_; etcdctl('put', '--', "$ENV{TEST_NGINX_TREE}$key", $value) }
sub etcd_del { my ($key, @options) = @_; etcdctl('del', @options, '--', "$ENV{TEST_NGINX_TREE}$key") }

# Many keys, as few transactions as etcd takes.
sub etcd_txn {
    my %values = @_;
    my @keys = sort keys %values;
    while (my @some = splice @keys, 0, 128) {
        my @puts = map { { request_put => {
            key => MIME::Base64::encode_base64("$ENV{TEST_NGINX_TREE}$_", ''),
            value => MIME::Base64::encode_base64($values{$_}, '') } } } @some;
        my $answer = $http->post("http://127.0.0.1:$ENV{TEST_NGINX_CONSUL_PORT}/v3/kv/txn",
            { content => JSON::PP::encode_json({ success => \@puts }) });
        $answer->{success} or die "etcd: $answer->{content}";
    }
}

# ---- from outside ------------------------------------------------------------

# Waits until all workers show that of a service.
sub all_show {
    my ($name, $service, $wanted, $seconds) = @_;
    my $last = '';
    my $ok = 0;
    my $end = Time::HiRes::time() + ($seconds // 5);
    while (!$ok && Time::HiRes::time() < $end) {
        my $seen = ZedcupStore::each_worker("/show?s=$service") or next;
        my %different = map { $_ => 1 } values %$seen;
        $last = join ' | ', sort keys %different;
        $ok = ref $wanted ? $last =~ $wanted : $last eq $wanted;
    }
    Test::More::ok($ok, $name) or Test::More::diag("last seen: $last");
    return $ok;
}

# Requests one after the other from so many processes, each a connection of its own a
# request; what they count is in a file that all append a byte to.
my $load_file;

sub start_load {
    my ($processes, $path) = @_;
    $load_file = "$ENV{TEST_NGINX_SOCKET_DIR}/load";
    unlink $load_file;
    my @pids = map {
        my $pid = fork() // die "cannot fork: $!";
        $pid || _load($path);
    } 1 .. $processes;
    return \@pids;
}

sub _load {
    my $path = shift;
    $SIG{ALRM} = 'DEFAULT';
    alarm 60; # whatever becomes of us
    open my $out, '>>', $load_file;
    while (1) {
        my ($status) = ZedcupStore::get($path);
        syswrite $out, $status == 200 ? '.' : 'x';
    }
}

sub load_count { return -s $load_file // 0 }

# (good, bad)
sub stop_load {
    my $pids = shift;
    kill KILL => @$pids;
    waitpid $_, 0 for @$pids;
    my $text = ZedcupStore::slurp($load_file);
    return ($text =~ tr/.//, $text =~ tr/x//);
}

# The worker that said last that it follows that path.
sub feeder_pid { return (ZedcupStore::error_log() =~ / (\d+)#\d+: (?:\*\d+ )?zedcup: this worker feeds/g)[-1] }

1;
