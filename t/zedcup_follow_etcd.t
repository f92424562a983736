# What others write into etcd, key by key; the blocks are in t/spec.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

# Keys put one by one make an instance that is not usable yet; such blocks check
# the error log for [alert] only.
$ZedcupStore::default_store = 'etcd';
spec_file('t/spec/zedcup_follow.txt');
run_tests();
