# Hosts that go down and come back by themselves, on the embedded store; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

$ZedcupStore::default_store = 'embedded';
spec_file('t/spec/zedcup_recovery.txt');
run_tests();
