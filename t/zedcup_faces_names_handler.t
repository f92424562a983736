# Lua handlers and hosts given by name; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use ZedcupFaces 'handler';
use DnsServer;

worker_connections(256);
master_on();
DnsServer::start("$ENV{TEST_NGINX_SOCKET_DIR}/dns", $ENV{TEST_NGINX_EXTRA_PORT});

names_of_hosts();
spec_file('t/spec/faces_names.txt');
run_tests();
