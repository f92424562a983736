# The native balancer: how a request reaches a host; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use ZedcupFaces 'native';

spec_file('t/spec/faces_requests.txt');
run_tests();
