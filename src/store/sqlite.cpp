#include "store/sqlite.hpp"

namespace zedcup {
namespace {

errc meaning(int code) noexcept {
  switch (code & 0xff) {
  case SQLITE_NOTADB:
  case SQLITE_CORRUPT:
  case SQLITE_FORMAT:
  case SQLITE_SCHEMA:
  case SQLITE_ERROR: // "no such table": not our schema
    return errc::bad_answer;
  case SQLITE_PERM:
  case SQLITE_READONLY:
  case SQLITE_CANTOPEN:
  case SQLITE_AUTH:
    return errc::denied;
  case SQLITE_TOOBIG:
    return errc::too_large;
  case SQLITE_MISUSE:
  case SQLITE_RANGE:
    return errc::invalid_argument;
  default: // busy, full, I/O, memory
    return errc::unavailable;
  }
}

error failure(sqlite3* db, int code, const std::string& text) {
  return sqlite_error(code, text, sqlite3_errmsg(db));
}

} // namespace

error sqlite_error(int code, const std::string& text, const char* detail) {
  return {meaning(code), "embedded store: " + text + ": " +
                             (detail ? detail : sqlite3_errstr(code))};
}

result<sqlite_statement> sqlite_statement::prepare(sqlite3* db,
                                                   const char* sql) {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK)
    return failure(db, code, "prepare");
  sqlite_statement made;
  made.raw_.reset(raw);
  return made;
}

sqlite_cursor::~sqlite_cursor() {
  sqlite3_reset(raw_);
  sqlite3_clear_bindings(raw_);
}

sqlite_cursor& sqlite_cursor::blob(std::string_view bytes) {
  // A null pointer would bind NULL.
  const char* const data = bytes.data() ? bytes.data() : "";
  const int code =
      sqlite3_bind_blob64(raw_, ++bound_, data, bytes.size(), SQLITE_STATIC);
  problem_ = problem_ == SQLITE_OK ? code : problem_;
  return *this;
}

sqlite_cursor& sqlite_cursor::number(int64_t value) {
  const int code = sqlite3_bind_int64(raw_, ++bound_, value);
  problem_ = problem_ == SQLITE_OK ? code : problem_;
  return *this;
}

result<bool> sqlite_cursor::step() {
  const int code = problem_ == SQLITE_OK ? sqlite3_step(raw_) : problem_;
  if (code == SQLITE_ROW || code == SQLITE_DONE)
    return code == SQLITE_ROW;
  return failure(sqlite3_db_handle(raw_), code, "statement");
}

status sqlite_cursor::run() {
  const auto row = step();
  if (!row)
    return row.error();
  return success();
}

std::string_view sqlite_cursor::blob_at(int column) const {
  const auto* const data =
      static_cast<const char*>(sqlite3_column_blob(raw_, column));
  const int size = sqlite3_column_bytes(raw_, column);
  return data ? std::string_view(data, static_cast<size_t>(size))
              : std::string_view();
}

int64_t sqlite_cursor::number_at(int column) const {
  return sqlite3_column_int64(raw_, column);
}

sqlite_transaction::~sqlite_transaction() {
  // Some errors roll back by themselves.
  if (open_ && sqlite3_get_autocommit(db_) == 0)
    (void)sqlite_run(db_, "ROLLBACK");
}

status sqlite_transaction::begin(kind what) {
  auto begun =
      sqlite_run(db_, what == kind::write ? "BEGIN IMMEDIATE" : "BEGIN");
  open_ = static_cast<bool>(begun);
  return begun;
}

status sqlite_transaction::commit() {
  auto done = sqlite_run(db_, "COMMIT");
  if (done)
    open_ = false;
  return done;
}

status sqlite_run(sqlite3* db, const char* sql) {
  const int code = sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK)
    return failure(db, code, sql);
  return success();
}

} // namespace zedcup
