# zedcup_state_dir and lreu.syncer: a start without the store serves the peers that
# it held last.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use LreuTest;

workers(3);
master_on();

our $kept_in = File::Temp->newdir('zedcup-state-XXXXXX', TMPDIR => 1);
$ENV{TEST_NGINX_STATE_DIR} = "$main::kept_in";

our $config = <<'END';
location = /app { proxy_pass http://app/; }
location = /state {
    content_by_lua_block {
        local state = require("lreu.syncer").state()
        ngx.say(state.ready, " ", state.saved, " ", state.services, " ", state.trouble and "trouble")
    }
}
END

add_block_preprocessor(sub {
    my $block = shift;
    my $dir = $block->dir // $ENV{TEST_NGINX_STATE_DIR};
    chomp $dir;
    $block->set_value('http_config', "zedcup_state_dir $dir;\n"
        . "upstream app { zone app 128k; server 127.0.0.1:$ENV{TEST_NGINX_CLOSED_PORT}; }\n"
        . ($block->http_config // ''));
    $block->set_value('config', $config . ($block->config // ''));
    $block->set_value('etcd', 'beside') if !defined $block->etcd;
    $block->set_value('syncer', ' ') if !defined $block->syncer;
});

# The file of this block's tree.
sub kept_at {
    my ($mine) = grep { ZedcupStore::slurp($_) =~ m{$ENV{TEST_NGINX_TREE}"} }
        glob "$main::kept_in/peers.*";
    return $mine;
}

sub kept { my $path = kept_at(); return $path ? ZedcupStore::slurp($path) : '' }

run_tests();

__DATA__

=== TEST 1: a start without the store serves what it held; what comes with it counts alone
--- script
etcd_put('web/127.0.0.1:81', '{"weight": 3}');
etcd_put('web/127.0.0.2:81', '{"status": "down"}');
etcd_put('api/127.0.0.3:81', '');
all_show('served', 'api', qr/^127\.0\.0\.3:81\/1$/);
wait_for('kept', 5, sub { my $text = kept(); $text =~ /"api"/ && $text =~ /"web"/ });
is((stat kept_at())[2] & 07777, 0600, 'for its owner only');
is(body_of('/state'), 'true false 2 nil', 'of the store');
ZedcupStore::etcd_stop();
restart();
is((body_of('/pick?s=web') =~ / (.*)/)[0], '127.0.0.1:81', 'the first request');
all_show('in all workers', 'web', qr/^127\.0\.0\.1:81\/3 127\.0\.0\.2:81\/1\/down$/);
wait_for('the state says what it is', 5, sub { body_of('/state') eq 'true true 2 trouble' });
like(error_log(), qr/\[notice\] .*lreu: until the store is read: 2 services of zedcup_state_dir, last confirmed \w+, \d+ \w+ 20\d\d/, 'and the log');
my @said = error_log() =~ /(until the store is read)/g;
is(scalar @said, 1, 'once');
reload();
is((body_of('/pick?s=web') =~ / (.*)/)[0], '127.0.0.1:81', 'after a reload');
kill KILL => $_ for worker_pids();
wait_for('after killed workers', 5, sub { (body_of('/pick?s=web') =~ / (.*)/)[0] eq '127.0.0.1:81' });
ZedcupStore::etcd_start();
etcd_put('web/127.0.0.4:81', '');
etcd_del('api/', '--prefix');
all_show('the store is followed again', 'web', qr/^127\.0\.0\.1:81\/3 .* 127\.0\.0\.4:81\/1$/, 20);
wait_for('of the store', 5, sub { body_of('/state') eq 'true false 1 nil' });
like(body_of('/pick?s=api'), qr/no such service/, 'what is gone is gone');
wait_for('in the file too', 5, sub { my $text = kept(); $text !~ /"api"/ && $text =~ /127\.0\.0\.4/ });
--- no_error_log
[emerg]



=== TEST 2: starts beside a store: what it holds now is not mixed with what it held
--- script
etcd_put('old/127.0.0.1:81', '');
etcd_put('web/127.0.0.1:81', '');
all_show('served', 'web', qr/^127\.0\.0\.1:81\/1$/);
wait_for('kept', 5, sub { my $text = kept(); $text =~ /"old"/ && $text =~ /"web"/ });
my $file = kept_at();
my $text = kept();
for my $i (2 .. 6) {
    restart(sub {
        open my $out, '>', $file or die;
        print $out $text;
        close $out;
        etcd_del('old/', '--prefix');
        etcd_put("web/127.0.0.1:81", qq({"weight": $i}));
    });
    wait_for("start $i: of the store", 5, sub { body_of('/state') eq 'true false 1 nil' });
    all_show("start $i", 'web', qr/^127\.0\.0\.1:81\/$i$/);
    like(body_of('/pick?s=old'), qr/no such service/, 'and not what is gone');
}
--- no_error_log
[error]



=== TEST 3: who comes late adds nothing that the store does not have
--- lua
local feeds, saved = require "zedcup.ffi_feeds", require "lreu.saved"
local fresh = ngx.shared.log
local function list(name, port)
    return { name = name, revision = 7, peers = '[{"host":"127.0.0.1","port":' .. port .. '}]' }
end
local text = require("cjson").encode({ saved = 1000, services = { list("web", 1), list("old", 2) } })
local real = feeds.saved
-- the store is read while the file is, and after
for _, late in ipairs({ false, true }) do
    fresh:flush_all()
    feeds.saved = function()
        fresh:set("web|peers", "new")
        fresh:set("web|version", 9)
        fresh:set("_allname", "web")
        fresh:set("ready", late and "saved" or true)
        return text
    end
    saved.restore(fresh, 0)
    ngx.say(fresh:get("web|peers"), " ", fresh:get("web|version"), " ", fresh:get("_allname"), " ",
            tostring(fresh:get("ready")), " ", tostring(fresh:get("old|peers") ~= nil))
end
fresh:flush_all()
feeds.saved = function() return "" end
saved.restore(fresh, 0)
ngx.say(tostring(fresh:get("ready")))
feeds.saved = real
--- response_body
new 9 web true false
new 9 web saved true
nil
--- no_error_log
[error]



=== TEST 4: a zone that follows a service does so from the file
--- backends: 2
--- init_worker
assert(require("lreu.syncer").sync_zone("app", "web"))
--- script
etcd_put("web/127.0.0.1:$TEST_NGINX_BACKEND_PORT2", '');
wait_for('served', 10, sub { body_of('/app') eq 'b2' });
wait_for('kept', 5, sub { kept() =~ /"web"/ });
ZedcupStore::etcd_stop();
restart();
wait_for('served without the store', 10, sub { body_of('/app') eq 'b2' });
ZedcupStore::etcd_start();
--- no_error_log
[emerg]



=== TEST 5: a file that is damaged, or is another's; a folder that takes none
--- script
etcd_put("$_/127.0.0.1:81", '') for qw(one two three);
all_show('served', 'three', qr/127/);
wait_for('kept', 5, sub { kept() =~ /"one".*"three".*"two"/s });
my $file = kept_at();
ZedcupStore::etcd_stop();
my $spoil = sub { my $how = shift; sub {
    local $_ = ZedcupStore::slurp($file);
    $how->();
    open my $out, '>', $file or die;
    print $out $_;
    close $out;
} };
my $whole = kept();
restart($spoil->(sub { s/^(\{"name":"three".*?)\}\]$/$1/m }));
wait_for('one line is damaged', 5, sub { error_log() =~ /\[warn\] .*zedcup_state_dir: \S+peers\.\w+: line \d is damaged/ });
is((body_of('/pick?s=one') =~ / (.*)/)[0], '127.0.0.1:81', 'the rest is served');
like(body_of('/pick?s=three'), qr/no such service/, 'it is not');
restart($spoil->(sub { $_ = $whole; s/"store":"/"store":"not /; }));
wait_for('of another store', 5, sub { error_log() =~ /zedcup_state_dir: \S+: the content of another store/ });
like(body_of('/pick?s=one'), qr/no services yet/, 'nothing is served');
ZedcupStore::etcd_start();
all_show('until the store is there', 'three', qr/127/, 20);
wait_for('and it is kept anew', 5, sub { kept() =~ /"three"/ });
--- no_error_log
[emerg]



=== TEST 6: a folder that cannot be written is a warning
--- dir: /dev/null/nowhere
--- script
etcd_put("web/127.0.0.1:81", '');
all_show('served', 'web', qr/127/);
wait_for('said', 5, sub { error_log() =~ /\[warn\] .*zedcup_state_dir: .*the content is not kept/ });
--- no_error_log
[emerg]
