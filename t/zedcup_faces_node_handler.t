# Lua handlers on a node of several workers; the blocks are in t/spec.
BEGIN { $ENV{TEST_NGINX_LOG_LEVEL} = 'notice' }
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use ZedcupFaces 'handler';

workers(4);
worker_connections(512);
master_on();

spec_file('t/spec/faces_node.txt');
run_tests();
