# What is written through the API, in etcd; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'etcd';
spec_file('t/spec/zedcup_configure.txt');
run_tests();
