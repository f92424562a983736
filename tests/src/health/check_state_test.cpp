// The tree below state/, and the marks below registry/.
#include "health/check_state.hpp"

#include <unistd.h>

#include "health/process_mark.hpp"
#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("check_state: reads what it knows and skips the rest", "[health]") {
  kv_tree tree;
  const auto add = [&](std::string key, std::string value, uint64_t flags) {
    kv_entry entry;
    entry.key = std::move(key);
    entry.value = std::move(value);
    entry.flags = flags;
    tree.entries.push_back(std::move(entry));
  };
  add("p/state/", "", 0);
  add("p/state/web/1/2/error_count", "3", 170);
  add("p/state/web/1/2/last_check", "1700000000", 7);
  add("p/state/web/1/3/last_check", "1700000000.25", ~uint64_t{0});
  add("p/state/web/1/4/last_check", "-5", 0);
  add("p/state/web/1/x/last_check", "1", 1);
  add("p/state/web/1/last_check", "1", 1);
  add("p/state/web/1/5/other", "1", 1);
  add("q/state/web/1/6/last_check", "1", 1);
  const auto states = read_check_states(tree, "p/state/");
  REQUIRE(states.size() == 3);
  const auto& two = states.at({"web", 1, 2});
  CHECK(two.last_error == 170);
  CHECK(two.last_check == 1700000000);
  CHECK(two.good == 7);
  CHECK(states.at({"web", 1, 3}).last_check == 1700000000);
  CHECK(states.at({"web", 1, 3}).good == 0xffffffff);
  CHECK(states.at({"web", 1, 4}).last_check == 0);
}

TEST_CASE("check_state: what is written is read again", "[health]") {
  const auto op = write_last_check("p/state/", {"web", 1, 2, "a", 80}, 99, 4);
  CHECK(op.key == "p/state/web/1/2/last_check");
  kv_tree tree;
  tree.entries.push_back({op.key, op.value, op.flags, 1, ""});
  const auto state = read_check_states(tree, "p/state/").at({"web", 1, 2});
  CHECK(state.last_check == 99);
  CHECK(state.good == 4);
}

TEST_CASE("process_mark: is read as it was written", "[health]") {
  const auto mine = process_mark::own("5.1");
  const auto again = process_mark::parse(mine.to_json());
  CHECK(again.host == mine.host);
  CHECK(again.pid == getpid());
  CHECK(again.started == mine.started);
  CHECK(again.boot == mine.boot);
  CHECK(again.pid_space == mine.pid_space);
  CHECK(again.ticks == mine.ticks);
  CHECK(again.run == "5.1");
  CHECK(mine.ticks > 0);
  CHECK_FALSE(mine.boot.empty());
}

TEST_CASE("process_mark: knows who has ended, and only them", "[health]") {
  const auto mine = process_mark::own("5.2");
  auto other = mine;
  CHECK(mine.knows_ended(other)); // our own earlier session
  other.run = "5.1";
  CHECK_FALSE(mine.knows_ended(other)); // another in this process
  other = mine;
  other.ticks += 1; // the pid was used again
  CHECK(mine.knows_ended(other));
  other.pid = 0x7ffffff0;
  CHECK(mine.knows_ended(other));
  other.boot = "elsewhere";
  CHECK_FALSE(mine.knows_ended(other));
  other.boot = mine.boot;
  other.pid_space = "pid:[1]";
  CHECK_FALSE(mine.knows_ended(other));
  CHECK_FALSE(mine.knows_ended(process_mark::parse("")));
  CHECK_FALSE(mine.knows_ended(process_mark::parse("locked: 7")));
  CHECK_FALSE(mine.knows_ended(process_mark::parse(R"({"pid": {"a": 1}})")));
  auto parent = mine;
  parent.pid = getppid();
  parent.ticks = mine.ticks + 1;   // later than it was started
  CHECK(mine.knows_ended(parent)); // alive, but started at another time
}
