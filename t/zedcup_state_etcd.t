# What zedcup knows of its hosts, in etcd; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'etcd';
spec_file('t/spec/zedcup_state.txt');
run_tests();
