#include "store/embedded_store.hpp"

#include "store/embedded_impl.hpp"
#include "store/embedded_schema.hpp"
#include "store/sqlite.hpp"

namespace zedcup {
namespace {

using verb = kv_op::verb;

constexpr size_t max_key_bytes = 1024;

/// The least text that no text with this prefix reaches.
std::string end_of(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff')
    end.pop_back();
  if (end.empty()) // beyond every key there can be
    return std::string(max_key_bytes + 1, '\xff');
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

const char* name_of(verb what) {
  switch (what) {
  case verb::set:
    return "set";
  case verb::set_if:
    return "set_if";
  case verb::remove:
    return "remove";
  case verb::remove_if:
    return "remove_if";
  case verb::remove_tree:
    return "remove_tree";
  case verb::check_index:
    return "check_index";
  case verb::check_absent:
    return "check_absent";
  case verb::lock:
    return "lock";
  case verb::unlock:
    return "unlock";
  }
  return "";
}

error conflict(const kv_op& op, const std::string& why) {
  return {errc::conflict, std::string("embedded store: ") + name_of(op.what) +
                              " of \"" + op.key + "\": " + why};
}

int64_t system_clock_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

} // namespace

status embedded_store::impl::prepare() {
  const std::pair<sqlite_statement*, const char*> all[] = {
      {&range_, "SELECT key, value, flags, modified, session FROM kv "
                "WHERE key >= ? AND key < ? ORDER BY key"},
      {&look_up_, "SELECT modified, session FROM kv WHERE key = ?"},
      {&put_, "INSERT INTO kv VALUES (?1, ?2, ?3, ?4, x'') "
              "ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
              "flags = excluded.flags, modified = excluded.modified"},
      {&hold_, "UPDATE kv SET session = ? WHERE key = ?"},
      {&erase_, "DELETE FROM kv WHERE key >= ? AND key < ?"},
      {&read_revision_, "SELECT revision FROM meta"},
      {&write_revision_, "UPDATE meta SET revision = ?"},
      {&add_session_, "INSERT INTO session VALUES (?, ?, ?, ?, ?)"},
      {&find_session_, "SELECT ttl_ms, delete_keys FROM session WHERE id = ?"},
      {&list_sessions_,
       "SELECT id, name, ttl_ms FROM session WHERE expires_ms > ?"},
      {&due_sessions_,
       "SELECT id, delete_keys FROM session WHERE expires_ms <= ?"},
      {&renew_, "UPDATE session SET expires_ms = ? WHERE id = ?"},
      {&drop_session_, "DELETE FROM session WHERE id = ?"},
      // The second condition lets the partial index serve.
      {&drop_held_, "DELETE FROM kv WHERE session = ? AND session <> x''"},
      {&release_held_, "UPDATE kv SET session = x'', modified = ? "
                       "WHERE session = ? AND session <> x''"},
  };
  for (const auto& [target, sql] : all) {
    auto made = sqlite_statement::prepare(db_.get(), sql);
    if (!made)
      return made.error();
    *target = *std::move(made);
  }
  return success();
}

result<uint64_t> embedded_store::impl::revision() {
  sqlite_cursor cursor(read_revision_);
  const auto row = cursor.step();
  if (!row)
    return row.error();
  if (!*row)
    return error{errc::bad_answer, "embedded store: no revision"};
  return static_cast<uint64_t>(cursor.number_at(0));
}

result<kv_tree> embedded_store::impl::read_tree(std::string_view prefix) {
  sqlite_transaction transaction(db_.get());
  if (auto begun = transaction.begin(sqlite_transaction::kind::read); !begun)
    return begun.error();
  const auto current = revision();
  if (!current)
    return current.error();
  kv_tree tree;
  tree.revision = *current;
  const auto end = end_of(prefix);
  sqlite_cursor cursor(range_);
  cursor.blob(prefix).blob(end);
  for (;;) {
    const auto row = cursor.step();
    if (!row)
      return row.error();
    if (!*row)
      return tree;
    kv_entry entry;
    entry.key = cursor.blob_at(0);
    entry.value = cursor.blob_at(1);
    entry.flags = static_cast<uint64_t>(cursor.number_at(2));
    entry.modify_index = static_cast<uint64_t>(cursor.number_at(3));
    entry.session = cursor.blob_at(4);
    tree.entries.push_back(std::move(entry));
  }
}

result<commit_result>
embedded_store::impl::commit(const std::vector<kv_op>& ops) {
  commit_result outcome;
  outcome.indexes.assign(ops.size(), 0);
  const auto done = write([&](change& made) -> status {
    for (size_t i = 0; i < ops.size(); ++i) {
      if (auto applied = apply(ops[i], made); !applied)
        return applied;
      const auto what = ops[i].what;
      if (what == verb::set || what == verb::set_if || what == verb::lock ||
          what == verb::unlock)
        outcome.revision = outcome.indexes[i] = made.index;
    }
    return success();
  });
  if (!done)
    return done.error();
  return outcome;
}

status embedded_store::impl::apply(const kv_op& op, change& made) {
  if (op.key.size() > max_key_bytes ||
      (op.key.empty() && op.what != verb::remove_tree))
    return error{errc::invalid_argument,
                 "embedded store: a key of " + std::to_string(op.key.size()) +
                     " bytes; 1.." + std::to_string(max_key_bytes) + " work"};
  if (op.what == verb::set)
    return put(op, made);
  if (op.what == verb::remove_tree)
    return erase(op.key, end_of(op.key), made);
  const auto now = look_up(op.key);
  if (!now)
    return now.error();
  if (auto good = check(op, *now); !good)
    return good;
  switch (op.what) {
  case verb::set_if:
    return put(op, made);
  case verb::remove:
  case verb::remove_if:
    return erase(op.key, op.key + '\0', made);
  case verb::lock:
    return hold(op, op.session, made);
  case verb::unlock:
    return hold(op, "", made);
  default:
    return success();
  }
}

/// The conditions of an op, as Consul has them: to remove_if, absent is fine.
status embedded_store::impl::check(const kv_op& op, const state& now) {
  const bool conditional = op.what == verb::set_if ||
                           op.what == verb::check_index ||
                           (op.what == verb::remove_if && now.modified != 0);
  if (conditional && now.modified != op.index)
    return conflict(op, "its index is " + std::to_string(now.modified) +
                            ", not " + std::to_string(op.index));
  if (op.what == verb::check_index && now.modified == 0)
    return conflict(op, "it does not exist");
  if (op.what == verb::check_absent && now.modified != 0)
    return conflict(op, "it exists");
  if (op.what == verb::unlock && now.session != op.session)
    return conflict(op, "the session does not hold it");
  if (op.what != verb::lock && op.what != verb::unlock)
    return success();
  const auto alive = is_alive(op.session);
  if (!alive)
    return alive.error();
  if (!*alive)
    return conflict(op, "there is no session \"" + op.session + "\"");
  if (!now.session.empty() && now.session != op.session)
    return conflict(op, "another session holds it");
  return success();
}

result<embedded_store::impl::state>
embedded_store::impl::look_up(std::string_view key) {
  sqlite_cursor cursor(look_up_);
  const auto row = cursor.blob(key).step();
  if (!row)
    return row.error();
  if (!*row)
    return state{};
  return state{static_cast<uint64_t>(cursor.number_at(0)),
               std::string(cursor.blob_at(1))};
}

status embedded_store::impl::put(const kv_op& op, change& made) {
  made.happened = true;
  sqlite_cursor cursor(put_);
  return cursor.blob(op.key)
      .blob(op.value)
      .number(static_cast<int64_t>(op.flags))
      .number(static_cast<int64_t>(made.index))
      .run();
}

status embedded_store::impl::hold(const kv_op& op, const std::string& session,
                                  change& made) {
  if (auto done = put(op, made); !done)
    return done;
  sqlite_cursor cursor(hold_);
  return cursor.blob(session).blob(op.key).run();
}

status embedded_store::impl::erase(std::string_view first, std::string_view end,
                                   change& made) {
  sqlite_cursor cursor(erase_);
  if (auto done = cursor.blob(first).blob(end).run(); !done)
    return done;
  made.happened = made.happened || sqlite3_changes(db_.get()) > 0;
  return success();
}

embedded_store::embedded_store(std::unique_ptr<impl> opened)
    : impl_(std::move(opened)) {}
embedded_store::embedded_store(embedded_store&&) noexcept = default;
embedded_store& embedded_store::operator=(embedded_store&&) noexcept = default;
embedded_store::~embedded_store() = default;

result<embedded_store> embedded_store::open(const std::string& path,
                                            embedded_options options) {
  auto db = open_embedded_file(path, options.busy_timeout);
  if (!db)
    return db.error();
  if (!options.clock_ms)
    options.clock_ms = &system_clock_ms;
  auto made = std::make_unique<impl>(*std::move(db), std::move(options));
  if (auto good = made->prepare(); !good)
    return good.error();
  return embedded_store(std::move(made));
}

result<kv_tree> embedded_store::read_tree(std::string_view prefix) {
  return impl_->read_tree(prefix);
}
result<commit_result> embedded_store::commit(const std::vector<kv_op>& ops) {
  return impl_->commit(ops);
}
result<uint64_t> embedded_store::revision() {
  return impl_->revision();
}
result<std::string> embedded_store::create_session(
    std::string_view name, std::chrono::milliseconds ttl, bool delete_keys) {
  return impl_->create_session(name, ttl, delete_keys);
}
status embedded_store::renew_session(std::string_view id) {
  return impl_->renew_session(id);
}
status embedded_store::destroy_session(std::string_view id) {
  return impl_->destroy_session(id);
}
result<std::vector<embedded_session>> embedded_store::sessions() {
  return impl_->sessions();
}
result<size_t> embedded_store::expire_sessions() {
  return impl_->expire_sessions();
}

} // namespace zedcup
