#include "store/write_plan.hpp"

#include <algorithm>

#include "support/catch.hpp"
#include "support/memory_store.hpp"

using namespace zedcup;
using zedcup::test::memory_store;

namespace {

using verb = kv_op::verb;
using content = std::map<std::string, std::string>;

kv_leaves hosts(int count, const std::string& value = "x") {
  kv_leaves leaves;
  for (int i = 1; i <= count; ++i)
    leaves.emplace_back("pools/1/hosts/" + std::to_string(i) + "/host",
                        value + std::to_string(i));
  return leaves;
}

content as_map(const kv_leaves& leaves) {
  return {leaves.begin(), leaves.end()};
}

/// What a reader makes of an instance: the record, where there is one.
content seen(const memory_store& store, const std::string& instance) {
  auto found = store.below("z/instances/" + instance + "/");
  const auto record = found.find("_pending");
  if (record == found.end())
    return found;
  const auto parsed = parse_pending(record->second);
  REQUIRE(parsed);
  return as_map(parsed->leaves);
}

write_plan plan_for(const kv_leaves& leaves, const commit_limits& limits = {},
                    const std::string& instance = "foo") {
  auto plan = write_plan::replace_instance("z", instance, leaves, "id", limits);
  if (!plan)
    FAIL(plan.error().message);
  return *plan;
}

/// Runs a plan to its end and returns the number of commits.
int run(write_plan plan, memory_store& store,
        const commit_limits& limits = {}) {
  int commits = 0;
  while (const auto ops = plan.next()) {
    REQUIRE(ops->size() <= limits.max_ops);
    size_t bytes = 0;
    for (const auto& op : *ops)
      bytes += op.key.size() + op.value.size();
    REQUIRE(bytes <= limits.max_bytes);
    const auto made = store.commit(*ops);
    REQUIRE(made);
    plan.committed(*made);
    ++commits;
  }
  return commits;
}

} // namespace

TEST_CASE("write_plan: what fits is one commit", "[plan]") {
  memory_store store;
  run(plan_for(hosts(3, "old")), store);
  REQUIRE(run(plan_for(hosts(62)), store) == 1);
  REQUIRE(store.below("z/instances/foo/") == as_map(hosts(62)));
}

TEST_CASE("write_plan: replacing keeps other instances, drops the state",
          "[plan]") {
  memory_store store;
  run(plan_for(hosts(2), {}, "foobar"), store);
  kv_op op;
  for (const char* key : {"z/state/foo/1/1/error_count",
                          "z/state/foobar/1/1/error_count", "z/config/a"}) {
    op.key = key;
    REQUIRE(store.commit({op}));
  }
  run(plan_for(hosts(1)), store);
  REQUIRE(store.below("z/instances/foobar/").size() == 2);
  REQUIRE(store.below("z/state/foo/").empty());
  REQUIRE(store.below("z/state/foobar/").size() == 1);
  REQUIRE(store.below("z/config/").size() == 1);
}

TEST_CASE("write_plan: more goes through a record, atomic for readers",
          "[plan]") {
  for (const int count : {63, 64, 124, 125, 126, 127, 500}) {
    memory_store store;
    run(plan_for(hosts(70, "old")), store);
    const auto before = as_map(hosts(70, "old"));
    const auto after = as_map(hosts(count));
    auto plan = plan_for(hosts(count));
    int commits = 0;
    while (const auto ops = plan.next()) {
      REQUIRE(ops->size() <= 64);
      REQUIRE(seen(store, "foo") == (commits == 0 ? before : after));
      const auto made = store.commit(*ops);
      REQUIRE(made);
      plan.committed(*made);
      ++commits;
    }
    REQUIRE(commits > 2);
    REQUIRE(store.below("z/instances/foo/") == after);
  }
}

TEST_CASE("write_plan: batches heed the bytes too", "[plan]") {
  commit_limits limits;
  limits.max_bytes = 1700;
  const auto leaves = hosts(30, std::string(20, 'v'));
  memory_store store;
  REQUIRE(run(plan_for(leaves, limits), store, limits) > 1);
  REQUIRE(store.below("z/instances/foo/") == as_map(leaves));
}

TEST_CASE("write_plan: a superseded writer fails with a conflict", "[plan]") {
  memory_store store;
  auto slow = plan_for(hosts(200));
  slow.committed(*store.commit(*slow.next()));
  slow.committed(*store.commit(*slow.next()));

  SECTION("by a large write") {
    run(plan_for(hosts(100, "new")), store);
  }
  SECTION("by a small one") {
    run(plan_for(hosts(3, "new")), store);
  }
  SECTION("by a removal") {
    run(*write_plan::remove_instance("z", "foo"), store);
  }
  SECTION("by one that is at its record") {
    auto other = plan_for(hosts(100, "new"));
    other.committed(*store.commit(*other.next()));
  }
  const auto state = store.below("z/");
  const auto late = store.commit(*slow.next());
  REQUIRE_FALSE(late);
  REQUIRE(late.error().code == errc::conflict);
  REQUIRE(store.below("z/") == state);
}

TEST_CASE("write_plan: anyone completes a dead writer's record", "[plan]") {
  for (const int steps : {1, 2, 3, 4}) {
    memory_store store;
    auto dead = plan_for(hosts(200));
    for (int i = 0; i < steps; ++i)
      dead.committed(*store.commit(*dead.next()));
    const auto record = store.entries().find("z/instances/foo/_pending");
    REQUIRE(record != store.entries().end());
    const auto plan =
        write_plan::complete_pending("z", "foo", record->second, {});
    REQUIRE(plan);
    run(*plan, store);
    REQUIRE(store.below("z/instances/foo/") == as_map(hosts(200)));
  }
}

TEST_CASE("write_plan: a removal takes the instance and its state", "[plan]") {
  memory_store store;
  run(plan_for(hosts(2)), store);
  run(plan_for(hosts(2), {}, "foobar"), store);
  REQUIRE(run(*write_plan::remove_instance("z/", "foo"), store) == 1);
  REQUIRE(store.below("z/instances/foo/").empty());
  REQUIRE(store.below("z/instances/foobar/").size() == 2);
}

TEST_CASE("write_plan: the global configuration is one commit", "[plan]") {
  memory_store store;
  run(*write_plan::replace_config("z", {{"old", "1"}}, {}), store);
  REQUIRE(run(*write_plan::replace_config(
                  "z", {{"session_ttl", "30"}, {"a/b", "c"}}, {}),
              store) == 1);
  REQUIRE(store.below("z/config/") ==
          content{{"session_ttl", "30"}, {"a/b", "c"}});
  const auto plan = write_plan::replace_config("z", hosts(64), {});
  REQUIRE_FALSE(plan);
  REQUIRE(plan.error().code == errc::too_large);
}

TEST_CASE("write_plan: emptied settings have a revision to wait for",
          "[plan]") {
  memory_store store;
  run(*write_plan::replace_config("z", {{"old", "1"}}, {}), store);
  const auto plan = write_plan::replace_config("z", {}, {});
  REQUIRE(plan);
  const auto made = store.commit(*plan->next());
  REQUIRE(made);
  REQUIRE(*std::max_element(made->indexes.begin(), made->indexes.end()) > 0);
  REQUIRE(store.below("z/config/").empty());
}

TEST_CASE("write_plan: too large a record names size and limit", "[plan]") {
  commit_limits limits;
  limits.max_bytes = 500;
  const auto plan =
      write_plan::replace_instance("z", "foo", hosts(64), "id", limits);
  REQUIRE_FALSE(plan);
  REQUIRE(plan.error().code == errc::too_large);
  REQUIRE(plan.error().message.find("instance \"foo\": ") == 0);
  REQUIRE(plan.error().message.find("takes 500") != std::string::npos);
}

TEST_CASE("write_plan: unusable names and paths are refused", "[plan]") {
  const auto refused = [](const char* prefix, const char* instance,
                          const char* path) {
    const auto plan =
        write_plan::replace_instance(prefix, instance, {{path, "x"}}, "id", {});
    return !plan && plan.error().code == errc::invalid_argument;
  };
  REQUIRE_FALSE(refused("z", "a", "b"));
  REQUIRE(refused("", "a", "b"));
  REQUIRE(refused("/", "a", "b"));
  REQUIRE(refused("z", "", "b"));
  REQUIRE(refused("z", "a/b", "b"));
  REQUIRE(refused("z", "a", ""));
  REQUIRE(refused("z", "a", "/b"));
  REQUIRE(refused("z", "a", "_pending"));
  REQUIRE(refused("z", "a", "_pending/b"));
  REQUIRE_FALSE(write_plan::remove_instance("z", ""));
}

TEST_CASE("write_plan: records survive quotes, newlines and raw bytes",
          "[plan]") {
  auto leaves = hosts(64);
  leaves.emplace_back("odd \"key\"", std::string("\0\n\"\\\xff\xc3\xa9", 8));
  auto plan = plan_for(leaves);
  const auto record = parse_pending(plan.next()->back().value);
  REQUIRE(record);
  REQUIRE(record->id == "id");
  REQUIRE(record->leaves == leaves);
}

TEST_CASE("write_plan: a damaged record is refused", "[plan]") {
  for (const char* bad :
       {"", "[]", "{}", R"({"id":"a"})", R"({"id":"a","leaves":[]})",
        R"({"id":1,"leaves":{}})", R"({"id":"a","leaves":{"b":1}})",
        R"({"id":"a","leaves":{"":"x"}})",
        R"({"id":"a","leaves":{"_pending":"x"}})"}) {
    const auto record = parse_pending(bad);
    REQUIRE_FALSE(record);
    REQUIRE(record.error().code == errc::bad_answer);
  }
  REQUIRE(parse_pending(R"({"id":"a","leaves":{}})"));
}
