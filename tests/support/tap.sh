# What the scripts print: a line a point, numbered. To be sourced after nginx.sh;
# a script ends with all_passed.

number=0
ok() { number=$((number + 1)); say "ok $number - $*"; }
bad() { number=$((number + 1)); say "not ok $number - $*"; exit 1; }
all_passed() { say "$number passed, 0 failed"; }
