// The inside of the embedded store: its statements and transactions.
// Internal to src/store; the store's thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/embedded_store.hpp"
#include "store/sqlite.hpp"

namespace zedcup {

class embedded_store::impl {
public:
  impl(sqlite_handle db, embedded_options options)
      : db_(std::move(db)), options_(std::move(options)) {}

  status prepare();
  result<kv_tree> read_tree(std::string_view prefix);
  result<commit_result> commit(const std::vector<kv_op>& ops);
  result<uint64_t> revision();
  result<std::string> create_session(std::string_view name,
                                     std::chrono::milliseconds ttl,
                                     bool delete_keys);
  status renew_session(std::string_view id);
  status destroy_session(std::string_view id);
  result<std::vector<embedded_session>> sessions();
  result<size_t> expire_sessions();

private:
  struct state {
    uint64_t modified = 0; ///< 0: absent
    std::string session;
  };
  struct change {
    uint64_t index = 0; ///< of what this transaction writes
    bool happened = false;
  };

  template <class Body>
  status write(Body body, size_t* ended = nullptr);
  result<state> look_up(std::string_view key);
  result<bool> is_alive(std::string_view session);
  status apply(const kv_op& op, change& made);
  status check(const kv_op& op, const state& now);
  status put(const kv_op& op, change& made);
  status hold(const kv_op& op, const std::string& session, change& made);
  status erase(std::string_view first, std::string_view end, change& made);
  status end_session(std::string_view id, bool delete_keys, change& made);
  result<size_t> expire_due(change& made);

  // The statements must go before the connection.
  sqlite_handle db_;
  embedded_options options_;
  sqlite_statement range_, look_up_, put_, hold_, erase_;
  sqlite_statement read_revision_, write_revision_;
  sqlite_statement add_session_, find_session_, list_sessions_, due_sessions_;
  sqlite_statement renew_, drop_session_, drop_held_, release_held_;
};

/// Runs `body(change&)` in a write transaction that first ends the sessions
/// that are due, and raises the revision if anything changed.
template <class Body>
status embedded_store::impl::write(Body body, size_t* ended) {
  sqlite_transaction transaction(db_.get());
  if (auto begun = transaction.begin(sqlite_transaction::kind::write); !begun)
    return begun;
  const auto before = revision();
  if (!before)
    return before.error();
  change made;
  made.index = *before + 1;
  const auto due = expire_due(made);
  if (!due)
    return due.error();
  if (ended)
    *ended = *due;
  if (status done = body(made); !done)
    return done;
  if (made.happened) {
    sqlite_cursor cursor(write_revision_);
    if (auto done = cursor.number(static_cast<int64_t>(made.index)).run();
        !done)
      return done;
  }
  return transaction.commit();
}

} // namespace zedcup
