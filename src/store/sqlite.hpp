// The little of SQLite's C interface that the embedded store uses, with values
// in place of exceptions. One thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "util/result.hpp"

namespace zedcup {

/// What an SQLite result code means, with `text` before SQLite's own words.
error sqlite_error(int code, const std::string& text, const char* detail);

/// A prepared statement. Prepare once, use many times through sqlite_cursor.
class sqlite_statement {
public:
  sqlite_statement() = default;
  static result<sqlite_statement> prepare(sqlite3* db, const char* sql);

private:
  friend class sqlite_cursor;
  struct deleter {
    void operator()(sqlite3_stmt* raw) const noexcept { sqlite3_finalize(raw); }
  };
  std::unique_ptr<sqlite3_stmt, deleter> raw_;
};

/// One use of a statement: bind in order, step, read; the end resets it.
class sqlite_cursor {
public:
  explicit sqlite_cursor(const sqlite_statement& statement)
      : raw_(statement.raw_.get()) {}
  ~sqlite_cursor();
  sqlite_cursor(const sqlite_cursor&) = delete;
  sqlite_cursor& operator=(const sqlite_cursor&) = delete;

  /// Blobs are not copied: they must outlive the cursor.
  sqlite_cursor& blob(std::string_view bytes);
  sqlite_cursor& number(int64_t value);

  /// True: a row is there; false: done.
  result<bool> step();
  /// For statements that give no row.
  status run();

  /// Columns of the row; a view lives until the next step.
  std::string_view blob_at(int column) const;
  int64_t number_at(int column) const;

private:
  sqlite3_stmt* raw_;
  int bound_ = 0;
  int problem_ = SQLITE_OK;
};

/// BEGIN … COMMIT; rolls back when it ends uncommitted.
class sqlite_transaction {
public:
  enum class kind { read, write };

  explicit sqlite_transaction(sqlite3* db) : db_(db) {}
  ~sqlite_transaction();
  sqlite_transaction(const sqlite_transaction&) = delete;
  sqlite_transaction& operator=(const sqlite_transaction&) = delete;

  status begin(kind what);
  status commit();

private:
  sqlite3* db_;
  bool open_ = false;
};

/// Runs SQL text that gives nothing.
status sqlite_run(sqlite3* db, const char* sql);

struct sqlite_closer {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
};
using sqlite_handle = std::unique_ptr<sqlite3, sqlite_closer>;

} // namespace zedcup
