package ZedcupFaces;

# One scenario, two ways to a host: Lua's handler and nginx's own proxy over the
# native balancer. Blocks of t/spec/faces_*.txt run once with each:
#
#     use ZedcupStore;
#     use ZedcupFaces 'native';       # or 'handler'
#     spec_file('t/spec/faces_requests.txt');
#
# Every block gets these locations to the instance "web":
#   /via/PATH     as users have it: statuses of 4xx and 5xx go on to another host
#   /again/PATH   the same, where a POST may be sent again. A handler asks its
#                 pool (retry_non_idempotent), nginx its directive
#   /only/PATH    the first host's answer, whatever it is
#   /key/PATH     the key of `hash` is the argument "key", not the client
# They answer as the host did, or 502; the header X-Tried lists what was tried,
# X-Pid is the worker. In `--- lua` `via` is t/lib/face_fixture.lua. Sections:
#   --- native                directives beside proxy_pass, where those stand for
#                             what a pool says to a handler
#   --- native_response_body  what differs by nature
# nginx logs what it tried in vain as errors: its face allows them.

use strict;
use warnings;

use Exporter ();
use HTTP::Tiny ();
use Time::HiRes ();
use Test::Nginx::Socket;
use ZedcupStore ();

our @ISA = 'Exporter';
our @EXPORT = qw(asked tried_by_workers tried_by_none answered_by_workers told
                 names_of_hosts);

my $face;

my $handler_locations = <<'END';
    client_body_buffer_size 4m;
    location /via/ { content_by_lua_block { require("face_fixture").pass_on("web") } }
    location /again/ { content_by_lua_block { require("face_fixture").pass_on("web") } }
    location /only/ { content_by_lua_block { require("face_fixture").pass_on("web", nil, "POST") } }
    location /key/ { content_by_lua_block { require("face_fixture").pass_on("web", ngx.var.arg_key) } }
END

my $upstreams = <<'END';
    upstream app { zedcup web; keepalive 16; }
    upstream keyed { zedcup web key=$arg_key; keepalive 16; }
END

my $next = 'error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429';

sub native_locations {
    my $more = shift;
    my %to = (via => ['app', $next], again => ['app', "$next non_idempotent"], only => ['app', 'off'],
              key => ['keyed', $next]);
    return join '', map { my ($upstream, $on) = @{ $to{$_} }; <<"END" } sort keys %to;
    location /$_/ {
        proxy_pass http://$upstream/;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream $on;
        add_header X-Tried "\$upstream_addr" always;
        add_header X-Pid "\$pid" always;
        $more
    }
END
}

sub import {
    my ($class, $given) = @_;
    $face = $given;
    Exporter::export_to_level($class, 1);
}

add_block_preprocessor(sub {
    my $block = shift;
    my $native = $face eq 'native';
    my $locations = $native ? native_locations($block->native // '') : $handler_locations;
    my $own = $block->http_config // '';
    $own = "$upstreams$own" if $native;
    # all workers answer on EXTRA_PORT where a file has several
    $own .= "server { listen 127.0.0.1:\$TEST_NGINX_EXTRA_PORT reuseport; $locations }\n"
        if $Test::Nginx::Util::Workers > 1;
    $block->set_value('http_config', $own);
    $block->set_value('config', ($block->config // '') . $locations);
    my $via = 'local via = require("face_fixture")' . ($native ? ' f = via.over(f)' : '') . "\n";
    $block->set_value('lua', $via . $block->lua) if defined $block->lua;
    return if !$native;
    $block->set_value('response_body', $block->native_response_body)
        if defined $block->native_response_body;
    $block->set_value('no_error_log', "[alert]\n[emerg]\nruntime error\n")
        if !grep { defined } $block->error_log, $block->no_error_log;
});

# Blocks of this file have hosts by name: a resolver (unless they say no_resolver), and one
# port on four addresses, each of which says its own. `dns` and `port` are for `--- lua`.
sub names_of_hosts {
    add_block_preprocessor(sub {
        my $block = shift;
        my $resolver = defined $block->no_resolver ? ''
            : 'resolver 127.0.0.1:$TEST_NGINX_EXTRA_PORT;';
        $block->set_value('http_config', ($block->http_config // '') . $resolver . <<'END');
    server {
        listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        listen 127.0.0.2:$TEST_NGINX_BACKEND_PORT;
        listen 127.0.0.3:$TEST_NGINX_BACKEND_PORT;
        listen [::1]:$TEST_NGINX_BACKEND_PORT;
        location / { return 200 "$server_addr"; }
    }
END
        $block->set_value('init_worker', 'require("dns_fixture").setup("$TEST_NGINX_DNS_FILE")');
        $block->set_value('lua', 'local dns, port = require("dns_fixture"), $TEST_NGINX_BACKEND_PORT'
                                 . "\n" . $block->lua);
    });
}

# "b1=2 b2=1": who answered n requests; other statuses count as such.
sub asked {
    my ($n, $path, $options) = @_;
    my %got;
    for my $i (1 .. $n) {
        my ($status, $body) = ZedcupStore::get($path // '/via/', $options);
        $got{$status == 200 ? $body : $status}++;
    }
    return join ' ', map { "$_=$got{$_}" } sort keys %got;
}

# What every worker does with n requests: { pid => [answer, …] } and
# { pid => hosts tried in vain, on CLOSED_PORT }. Asks on EXTRA_PORT until all have had theirs.
sub tried_by_workers {
    my ($n, $path) = @_;
    my (%answers, %vain);
    my $end = Time::HiRes::time() + 10;
    while (Time::HiRes::time() < $end) {
        my $got = HTTP::Tiny->new(timeout => 5, keep_alive => 0)
            ->get("http://127.0.0.1:$ENV{TEST_NGINX_EXTRA_PORT}" . ($path // '/via/'));
        my $pid = $got->{headers}{'x-pid'} or next;
        push @{ $answers{$pid} }, $got->{status} == 200 ? $got->{content} : $got->{status};
        # backends of this nginx fall with its workers: what nginx kept to them is not meant
        $vain{$pid} += grep { $_ ne 'served' && $_ ne 'app' && !/^:$/
                              && (!/:\d+$/ || /:$ENV{TEST_NGINX_CLOSED_PORT}$/) }
            split /[, ]+/, $got->{headers}{'x-tried'} // '';
        my @pids = ZedcupStore::worker_pids();
        return (\%answers, \%vain)
            if @pids && !grep { @{ $answers{$_} // [] } < $n } @pids;
    }
    return ({}, {});
}

# Whether no worker tries a host in vain in n requests.
sub tried_by_none {
    my ($answers, $vain) = tried_by_workers(shift);
    return %$vain && !grep { $_ } values %$vain;
}

# The first answer of each worker, sorted: "b1 b1 b2 b2".
sub answered_by_workers {
    my ($answers) = tried_by_workers(1);
    return join ' ', sort map { $_->[0] } values %$answers;
}

# How often an event of host 1 was told, for each scope; see log_events() of
# zedcup_fixture.lua.
sub told {
    my %count = (cluster => 0, node => 0, worker => 0);
    my $event = shift;
    my $log = ZedcupStore::error_log();
    $count{$1}++ while $log =~ /told: $event (\w+) 1/g;
    return "$count{cluster} $count{node} $count{worker}";
}

1;
