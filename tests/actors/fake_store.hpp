// A store in the registry whose answers the test scripts; behind the script
// are the commit rules of memory_store.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actor_fixture.hpp"
#include "support/memory_store.hpp"

namespace zedcup::test {

class fake_store {
public:
  /// What becomes of one order.
  enum class fate {
    served,    ///< done and answered
    unheard,   ///< not done, not answered
    unthanked, ///< done, not answered
  };
  /// For each order in turn; after the last, all are served.
  std::deque<std::variant<fate, error>> script;

  std::vector<std::vector<kv_op>> commits; ///< as ordered
  std::vector<std::string> reads;          ///< prefixes
  int revision_asks = 0;
  memory_store content;
  std::vector<msg::session_order> session_orders;
  std::set<std::string> sessions; ///< alive
  /// What the next session orders fail with; "": they do not.
  std::deque<error> session_failures;
  int watches = 0;
  /// Runs before an order is served.
  std::function<void()> before;
  /// In place of the content's own, where set.
  std::optional<uint64_t> revision;
  std::map<std::string, uint64_t> read_revisions; ///< by prefix

  caf::behavior behavior(caf::event_based_actor* self) {
    return {
        [this, self](const msg::commit_order& order) {
          commits.push_back(order.ops);
          return answer<msg::commit_reply>(
              self, [&] { return content.commit(order.ops); });
        },
        [this, self](const msg::read_order& order) {
          reads.push_back(order.prefix);
          return answer<msg::read_reply>(self,
                                         [&] { return read(order.prefix); });
        },
        [this](const msg::session_order& order) {
          return msg::session_reply{session(order)};
        },
        [this](const msg::watch_order& order) {
          ++watches;
          return msg::read_reply{read(order.prefix)};
        },
        [this, self](const msg::ask_revision&) {
          ++revision_asks;
          return answer<msg::revision_reply>(self, [&]() -> result<uint64_t> {
            return revision.value_or(newest());
          });
        },
    };
  }

  uint64_t newest() const {
    uint64_t highest = 0;
    for (auto& [key, entry] : content.entries())
      highest = std::max(highest, entry.modify_index);
    return highest;
  }

private:
  result<std::string> session(const msg::session_order& order) {
    using verb = msg::session_order::verb;
    session_orders.push_back(order);
    if (!session_failures.empty()) {
      auto failure = session_failures.front();
      session_failures.pop_front();
      if (!failure.message.empty())
        return failure;
    }
    auto id = order.id;
    if (order.what == verb::create)
      sessions.insert(id = "s" + std::to_string(++last_session_));
    else if (order.what == verb::renew && sessions.count(id) == 0)
      return error{errc::not_found, "no such session"};
    if (order.what == verb::destroy) {
      sessions.erase(id);
      content.end_session(id);
    }
    return id;
  }

  int last_session_ = 0;

  using tree_ptr = std::shared_ptr<const kv_tree>;

  result<tree_ptr> read(const std::string& prefix) {
    auto tree = std::make_shared<kv_tree>();
    tree->revision = revision.value_or(newest());
    if (read_revisions.count(prefix) != 0)
      tree->revision = read_revisions[prefix];
    for (auto& [key, entry] : content.entries())
      if (key.compare(0, prefix.size(), prefix) == 0)
        tree->entries.push_back(entry);
    return tree_ptr{tree};
  }

  template <class Reply, class Serve>
  caf::response_promise answer(caf::event_based_actor* self, Serve serve) {
    auto promise = self->make_response_promise();
    std::variant<fate, error> todo = fate::served;
    if (!script.empty()) {
      todo = script.front();
      script.pop_front();
    }
    if (before)
      before();
    if (auto* failure = std::get_if<error>(&todo)) {
      promise.deliver(Reply{*failure});
      return promise;
    }
    if (std::get<fate>(todo) == fate::unheard)
      return promise;
    auto outcome = serve();
    if (std::get<fate>(todo) == fate::served)
      promise.deliver(Reply{std::move(outcome)});
    return promise;
  }
};

/// `store` must outlive the actor.
inline caf::actor spawn_fake_store(caf::actor_system& sys, fake_store& store) {
  return spawn_small(sys, [&store](caf::event_based_actor* self) {
    return store.behavior(self);
  });
}

} // namespace zedcup::test
