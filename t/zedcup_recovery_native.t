# Hosts that go down and come back under the native balancer: the two ways back of
# t/spec/zedcup_recovery.txt. What follows there is not about requests.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;
use ZedcupFaces 'native';

my @blocks = split /^(?==== TEST)/m, ZedcupStore::slurp('t/spec/zedcup_recovery.txt');
spec_string(join '', @blocks[0, 1]);
run_tests();
