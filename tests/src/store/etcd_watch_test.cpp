#include "store/etcd_watch.hpp"

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

using action = etcd_watch::step::action;

/// The machine with a clock that only the test moves.
struct bench {
  etcd_watch watch{{}, 7};
  etcd_watch::time_point now{};
  etcd_watch::step step;

  action next() {
    step = watch.next(now);
    return step.what;
  }

  /// Content at a revision: one key a number.
  static etcd::range_answer content(uint64_t revision,
                                    const std::vector<int>& keys,
                                    uint64_t cluster = 1) {
    etcd::range_answer answer;
    answer.cluster_id = cluster;
    answer.tree.revision = revision;
    for (const int key : keys) {
      kv_entry entry;
      entry.key = "z/" + std::to_string(key);
      entry.modify_index = revision;
      answer.tree.entries.push_back(entry);
    }
    return answer;
  }

  etcd_watch::outcome read(etcd::range_answer answer) {
    REQUIRE(next() == action::read);
    return watch.on_read(std::move(answer), now);
  }

  void start(uint64_t revision = 10) {
    REQUIRE(read(content(revision, {1, 2})).publish);
    REQUIRE(next() == action::stream);
    REQUIRE(step.revision == revision + 1);
    REQUIRE(next() == action::idle);
  }

  etcd_watch::outcome event(uint64_t changed, uint64_t cluster = 1) {
    etcd::watch_message message;
    message.cluster_id = cluster;
    message.revision = message.changed = changed;
    return watch.on_message(message, now);
  }
};

error broken() {
  return {errc::unavailable, "refused"};
}

} // namespace

TEST_CASE("etcd watch: reads, then streams from what it read", "[etcd]") {
  bench b;
  b.start();
  b.event(10); // old news
  CHECK(b.next() == action::idle);
  b.event(12);
  CHECK(b.read(bench::content(12, {1, 2, 3})).publish->entries.size() == 3);
  CHECK(b.next() == action::idle); // the same stream goes on
}

TEST_CASE("etcd watch: news during a read are read once more", "[etcd]") {
  bench b;
  b.start();
  b.event(11);
  REQUIRE(b.next() == action::read);
  b.event(12);
  b.event(13);
  CHECK(b.next() == action::idle);
  CHECK(b.watch.on_read(bench::content(12, {1, 2}), b.now).publish);
  CHECK(b.read(bench::content(13, {1, 2})).publish);
  CHECK(b.next() == action::idle);
}

TEST_CASE("etcd watch: what is empty or halved is read twice", "[etcd]") {
  bench b;
  CHECK_FALSE(b.read(bench::content(4, {})).publish);
  CHECK(b.read(bench::content(4, {})).publish); // so it is
  b.watch.kick();
  CHECK(b.read(bench::content(5, {1, 2, 3, 4})).publish);
  b.watch.kick();
  CHECK_FALSE(b.read(bench::content(6, {1})).publish);
  CHECK(b.read(bench::content(6, {1, 2, 3, 4})).publish);
}

TEST_CASE("etcd watch: a compaction is a new read and a new stream", "[etcd]") {
  bench b;
  b.start();
  etcd::watch_message gone;
  gone.cluster_id = 1;
  gone.canceled = gone.compacted = true;
  const auto outcome = b.watch.on_message(gone, b.now);
  CHECK(outcome.close_stream);
  CHECK_FALSE(outcome.problem);
  b.start(20);
}

TEST_CASE("etcd watch: another cluster or an older past is believed",
          "[etcd]") {
  bench b;
  b.start();
  CHECK(b.event(3, 2).close_stream);
  CHECK(b.read(bench::content(3, {1, 2}, 2)).publish);
  REQUIRE(b.next() == action::stream);
  CHECK(b.step.revision == 4);
  b.watch.kick();
  const auto restored = b.read(bench::content(2, {1, 2}, 2));
  CHECK(restored.close_stream);
  CHECK(restored.publish->revision == 2);
  REQUIRE(b.next() == action::stream);
  CHECK(b.step.revision == 3);
}

TEST_CASE("etcd watch: failures back off, and a kick ends that", "[etcd]") {
  bench b;
  std::chrono::milliseconds longest{0};
  for (int i = 0; i < 50; ++i) {
    REQUIRE(b.next() == action::read);
    const auto outcome = b.watch.on_read(broken(), b.now);
    CHECK(outcome.problem);
    if (b.next() == action::wait) {
      longest = std::max(longest,
                         std::chrono::duration_cast<std::chrono::milliseconds>(
                             b.step.until - b.now));
      b.now = b.step.until;
    } else {
      // A delay of nothing: the read counts as begun.
      REQUIRE(b.watch.on_read(broken(), b.now).problem);
      b.now += 2s;
    }
  }
  CHECK(longest > 500ms);
  CHECK(longest <= 1500ms);
  REQUIRE(b.next() == action::read);
  (void)b.watch.on_read(broken(), b.now);
  b.watch.kick();
  b.start();
  CHECK(b.watch.failures() == 0);
}

TEST_CASE("etcd watch: the end of a stream is a failure", "[etcd]") {
  bench b;
  b.start();
  const auto outcome = b.watch.on_stream_end(broken(), b.now);
  CHECK(outcome.problem);
  CHECK_FALSE(outcome.close_stream);
  b.now += 2s;
  b.start(11);
  CHECK_FALSE(b.watch.on_stream_end(broken(), b.now).close_stream);
  CHECK_FALSE(b.watch.on_stream_end(broken(), b.now).problem); // an echo
}

TEST_CASE("etcd watch: a stream that sleeps while things change is replaced",
          "[etcd]") {
  bench b;
  b.start();
  etcd::look_answer seen;
  seen.cluster_id = 1;
  seen.revision = 15;
  seen.changed = 10;
  seen.count = 2;
  CHECK_FALSE(b.watch.on_look(seen).close_stream); // changes elsewhere
  seen.count = 1;                                  // a deletion
  CHECK(b.watch.on_look(seen).close_stream);
  b.start(15);
  seen.count = 2;
  seen.revision = seen.changed = 16;
  CHECK(b.watch.on_look(seen).close_stream);
  b.start(16);
  seen.revision = 4;
  CHECK(b.watch.on_look(seen).close_stream); // an older past
}
