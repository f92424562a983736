// Sessions of the embedded store: leases by wall clock, ended lazily by
// whoever writes next.
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "store/embedded_impl.hpp"

namespace zedcup {
namespace {

result<std::string> random_id() {
  unsigned char bytes[16];
  if (getentropy(bytes, sizeof bytes) != 0)
    return error{errc::unavailable, "embedded store: no entropy: " +
                                        std::generic_category().message(errno)};
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < sizeof bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      text += '-';
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

} // namespace

result<bool> embedded_store::impl::is_alive(std::string_view session) {
  sqlite_cursor cursor(find_session_);
  return cursor.blob(session).step();
}

status embedded_store::impl::end_session(std::string_view id, bool delete_keys,
                                         change& made) {
  {
    sqlite_cursor cursor(delete_keys ? drop_held_ : release_held_);
    if (!delete_keys)
      cursor.number(static_cast<int64_t>(made.index));
    if (auto done = cursor.blob(id).run(); !done)
      return done;
    made.happened = made.happened || sqlite3_changes(db_.get()) > 0;
  }
  sqlite_cursor cursor(drop_session_);
  return cursor.blob(id).run();
}

result<size_t> embedded_store::impl::expire_due(change& made) {
  std::vector<std::pair<std::string, bool>> due;
  {
    sqlite_cursor cursor(due_sessions_);
    cursor.number(options_.clock_ms());
    for (;;) {
      const auto row = cursor.step();
      if (!row)
        return row.error();
      if (!*row)
        break;
      due.emplace_back(cursor.blob_at(0), cursor.number_at(1) != 0);
    }
  }
  for (const auto& [id, delete_keys] : due)
    if (auto ended = end_session(id, delete_keys, made); !ended)
      return ended.error();
  return due.size();
}

result<std::string> embedded_store::impl::create_session(
    std::string_view name, std::chrono::milliseconds ttl, bool delete_keys) {
  if (ttl.count() <= 0)
    return error{errc::invalid_argument,
                 "embedded store: a session's ttl must be positive"};
  auto id = random_id();
  if (!id)
    return id;
  const auto done = write([&](change&) {
    sqlite_cursor cursor(add_session_);
    return cursor.blob(*id)
        .blob(name)
        .number(ttl.count())
        .number(options_.clock_ms() + ttl.count())
        .number(delete_keys ? 1 : 0)
        .run();
  });
  if (!done)
    return done.error();
  return id;
}

status embedded_store::impl::renew_session(std::string_view id) {
  bool found = false;
  auto done = write([&](change&) -> status {
    int64_t ttl = 0;
    {
      sqlite_cursor cursor(find_session_);
      const auto row = cursor.blob(id).step();
      if (!row)
        return row.error();
      found = *row;
      ttl = found ? cursor.number_at(0) : 0;
    }
    if (!found)
      return success(); // what expire_due() did is kept
    sqlite_cursor cursor(renew_);
    return cursor.number(options_.clock_ms() + ttl).blob(id).run();
  });
  if (done && !found)
    return error{errc::not_found,
                 "embedded store: no session \"" + std::string(id) + "\""};
  return done;
}

status embedded_store::impl::destroy_session(std::string_view id) {
  return write([&](change& made) -> status {
    bool delete_keys = false;
    {
      sqlite_cursor cursor(find_session_);
      const auto row = cursor.blob(id).step();
      if (!row)
        return row.error();
      if (!*row)
        return success();
      delete_keys = cursor.number_at(1) != 0;
    }
    return end_session(id, delete_keys, made);
  });
}

result<std::vector<embedded_session>> embedded_store::impl::sessions() {
  std::vector<embedded_session> found;
  sqlite_cursor cursor(list_sessions_);
  cursor.number(options_.clock_ms());
  for (;;) {
    const auto row = cursor.step();
    if (!row)
      return row.error();
    if (!*row)
      return found;
    found.push_back({std::string(cursor.blob_at(0)),
                     std::string(cursor.blob_at(1)),
                     std::chrono::milliseconds(cursor.number_at(2))});
  }
}

result<size_t> embedded_store::impl::expire_sessions() {
  {
    // A look first: an idle node must not take the write lock every second.
    sqlite_cursor cursor(due_sessions_);
    const auto row = cursor.number(options_.clock_ms()).step();
    if (!row)
      return row.error();
    if (!*row)
      return size_t{0};
  }
  size_t ended = 0;
  const auto done = write([](change&) { return success(); }, &ended);
  if (!done)
    return done.error();
  return ended;
}

} // namespace zedcup
