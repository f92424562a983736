// Keys, values and flags of a host's state, and the commits that change it.
#include "store/host_state.hpp"

#include <algorithm>

#include "support/catch.hpp"
#include "support/memory_store.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

const host_ref web01{"web", 1, 2, "10.0.0.1", 80};
const std::string config_at = "z/instances/web/pools/1/hosts/2/";
const std::string state_at = "z/state/web/1/2/";

class stored {
public:
  stored() {
    put(config_at + "host", "10.0.0.1");
    put(config_at + "port", "80");
  }

  void put(const std::string& key, const std::string& value,
           uint64_t flags = 0) {
    kv_op op;
    op.key = key;
    op.value = value;
    op.flags = flags;
    REQUIRE(content.commit({op}));
  }
  void remove(const std::string& key) {
    kv_op op;
    op.what = kv_op::verb::remove;
    op.key = key;
    REQUIRE(content.commit({op}));
  }

  host_reading read(const host_ref& host = web01) const {
    host_reading seen;
    for (auto& [key, entry] : content.entries())
      note_entry(seen, "z", host, entry);
    return seen;
  }

  bool commit(const host_change& change) {
    return static_cast<bool>(content.commit(change.ops));
  }

  /// "value/flags", or "-".
  std::string at(const std::string& key) const {
    auto found = content.entries().find(key);
    return found == content.entries().end()
               ? "-"
               : found->second.value + "/" +
                     std::to_string(found->second.flags);
  }

  memory_store content;
};

host_change errors(const stored& store, uint32_t count, uint64_t now,
                   uint32_t max_errors = 3) {
  return plan_errors("z", web01, store.read(), count, 60s, max_errors, now);
}

} // namespace

TEST_CASE("host_state: a first error is counted with its time", "[state]") {
  stored store;
  const auto change = errors(store, 1, 1000);
  CHECK(change.count == 1);
  CHECK_FALSE(change.went_down);
  REQUIRE(store.commit(change));
  CHECK(store.at(state_at + "error_count") == "1/1000");
  CHECK(store.at(config_at + "up") == "-");
}

TEST_CASE("host_state: errors within the window add up", "[state]") {
  stored store;
  store.put(state_at + "error_count", "1", 1000);
  REQUIRE(store.commit(errors(store, 1, 1060)));
  CHECK(store.at(state_at + "error_count") == "2/1060");
}

TEST_CASE("host_state: the count starts anew after the window", "[state]") {
  stored store;
  store.put(state_at + "error_count", "2", 1000);
  REQUIRE(store.commit(errors(store, 1, 1061)));
  CHECK(store.at(state_at + "error_count") == "1/1061");
}

TEST_CASE("host_state: errors of another node's faster clock still count",
          "[state]") {
  stored store;
  store.put(state_at + "error_count", "1", 1005);
  REQUIRE(store.commit(errors(store, 1, 1000)));
  CHECK(store.at(state_at + "error_count") == "2/1000");
}

TEST_CASE("host_state: a count that is no number, or is huge, does no harm",
          "[state]") {
  stored store;
  store.put(state_at + "error_count", "many", 1000);
  CHECK(errors(store, 2, 1000).count == 2);
  store.put(state_at + "error_count", "4294967295", 1000);
  CHECK(errors(store, 2, 1000).count == 4294967295U);
}

TEST_CASE("host_state: max_errors takes the host down in the same commit",
          "[state]") {
  stored store;
  store.put(state_at + "error_count", "2", 1000);
  const auto change = errors(store, 1, 1001);
  CHECK(change.went_down);
  REQUIRE(store.commit(change));
  CHECK(store.at(config_at + "up") == "false/1");
  CHECK(store.at(state_at + "error_count") == "3/1001");
}

TEST_CASE("host_state: an explicit up = true is taken down too", "[state]") {
  stored store;
  store.put(config_at + "up", "true");
  REQUIRE(store.commit(errors(store, 3, 1000)));
  CHECK(store.at(config_at + "up") == "false/1");
}

TEST_CASE("host_state: of two that take a host down exactly one wins",
          "[state]") {
  stored store;
  const auto one = errors(store, 3, 1000);
  const auto other = errors(store, 3, 1000);
  const auto third = plan_down("z", web01, store.read());
  CHECK(store.commit(one));
  CHECK_FALSE(store.commit(other));
  CHECK_FALSE(store.commit(third));
  CHECK_FALSE(errors(store, 3, 1000).went_down);
}

TEST_CASE("host_state: an operator's down is never touched", "[state]") {
  stored store;
  store.put(config_at + "up", "false");
  const auto counted = errors(store, 3, 1000);
  CHECK_FALSE(counted.went_down);
  CHECK(counted.by_operator);
  REQUIRE(store.commit(counted));
  CHECK(plan_down("z", web01, store.read()).ops.empty());
  const auto up = plan_up("z", web01, store.read());
  CHECK(up.ops.empty());
  CHECK(up.by_operator);
  CHECK(store.at(config_at + "up") == "false/0");
}

TEST_CASE("host_state: an operator who is faster wins", "[state]") {
  stored store;
  const auto down = errors(store, 3, 1000);
  store.put(config_at + "up", "false");
  CHECK_FALSE(store.commit(down));
  CHECK(store.at(config_at + "up") == "false/0");
}

TEST_CASE("host_state: another server at the place is left alone", "[state]") {
  stored store;
  const auto down = errors(store, 3, 1000);
  store.put(config_at + "host", "10.0.0.9");
  CHECK_FALSE(is_same_host(store.read(), web01));
  CHECK_FALSE(store.commit(down));
  store.put(config_at + "host", "10.0.0.1");
  store.put(config_at + "port", "81");
  CHECK_FALSE(is_same_host(store.read(), web01));
  store.remove(config_at + "port");
  CHECK_FALSE(is_same_host(store.read(), web01));
}

TEST_CASE("host_state: the same server in another spelling is the same",
          "[state]") {
  stored store;
  store.put(config_at + "port", " 80 ");
  CHECK(is_same_host(store.read(), web01));
  store.put(config_at + "host", "::1");
  CHECK(is_same_host(store.read(), {"web", 1, 2, "[::1]", 80}));
  store.put(config_at + "host", "unix:/run/a.sock");
  CHECK(is_same_host(store.read(), {"web", 1, 2, "unix:/run/a.sock", 0}));
}

TEST_CASE("host_state: nothing is written beside a redo record", "[state]") {
  stored store;
  const auto down = errors(store, 3, 1000);
  store.put("z/instances/web/_pending", "{}");
  CHECK(store.read().rewriting);
  CHECK_FALSE(store.commit(down));
}

TEST_CASE("host_state: coming up clears the count and the rises", "[state]") {
  stored store;
  REQUIRE(store.commit(errors(store, 3, 1000)));
  store.put(state_at + "last_check", "1010", 2);
  const auto one = plan_up("z", web01, store.read());
  const auto other = plan_up("z", web01, store.read());
  CHECK(one.went_up);
  CHECK(store.commit(one));
  CHECK_FALSE(store.commit(other));
  CHECK(store.at(config_at + "up") == "true/0");
  CHECK(store.at(state_at + "error_count") == "-");
  CHECK(store.at(state_at + "last_check") == "1010/0");
  CHECK(plan_up("z", web01, store.read()).ops.empty());
}

TEST_CASE("host_state: reset and last_check", "[state]") {
  stored store;
  CHECK(plan_reset("z", web01, store.read()).ops.empty());
  REQUIRE(store.commit(errors(store, 1, 1000)));
  REQUIRE(store.commit(plan_reset("z", web01, store.read())));
  CHECK(store.at(state_at + "error_count") == "-");
  REQUIRE(store.commit(plan_checked("z", web01, store.read(), 1234)));
  CHECK(store.at(state_at + "last_check") == "1234/0");
  store.put(state_at + "last_check", "1234", 2);
  REQUIRE(store.commit(plan_checked("z", web01, store.read(), 1240)));
  CHECK(store.at(state_at + "last_check") == "1240/2");
}

TEST_CASE("host_state: reads persist_errors", "[state]") {
  stored store;
  CHECK(store.read().persist);
  store.put("z/instances/web/persist_errors", "false");
  CHECK_FALSE(store.read().persist);
}

TEST_CASE("host_state: an instance's state is parsed whatever else is there",
          "[state]") {
  stored store;
  store.put("z/state/web/1/2/error_count", "3", 1000);
  store.put("z/state/web/1/2/last_check", "1005", 2);
  store.put("z/state/web/2/10/error_count", "1", 7);
  store.put("z/state/web/x/1/error_count", "1");
  store.put("z/state/web/1/01/error_count", "1");
  store.put("z/state/web/1/2/other", "1");
  store.put("z/state/web/1/error_count", "1");
  store.put("z/state/web/", "");
  store.put("z/state/web2/1/1/error_count", "1");
  std::vector<kv_entry> entries;
  for (auto& [key, entry] : store.content.entries())
    entries.push_back(entry);
  const auto state = parse_state("z", "web", entries);
  REQUIRE(state.size() == 2);
  CHECK(state.at({1, 2}).rises == 2);
  CHECK(state_json(state) == "[[1,2,3,1000,1005],[2,10,1,7,0]]");
  CHECK(state_json({}) == "[]");
}
