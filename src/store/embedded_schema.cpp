#include "store/embedded_schema.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>

namespace zedcup {
namespace {

// Keys are blobs: they compare bytewise, and '%' and '_' are just bytes.
constexpr const char* schema = R"(
CREATE TABLE kv (
  key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, flags INTEGER NOT NULL,
  modified INTEGER NOT NULL, session BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX kv_session ON kv (session) WHERE session <> x'';
CREATE TABLE session (
  id BLOB PRIMARY KEY NOT NULL, name BLOB NOT NULL, ttl_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL, delete_keys INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE meta (
  one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL
);
INSERT INTO meta VALUES (1, 1);
PRAGMA application_id = 0x7a656463;
PRAGMA user_version = 1;
)";

/// Makes an empty file that only its owner may read: it may hold secrets.
status create_private(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                        S_IRUSR | S_IWUSR);
  if (fd >= 0) {
    ::close(fd);
    return success();
  }
  if (errno == EEXIST)
    return success();
  const auto text = std::generic_category().message(errno);
  return error{errc::denied, "embedded store: " + path + ": " + text};
}

result<int64_t> read_pragma(sqlite3* db, const char* sql) {
  const auto statement = sqlite_statement::prepare(db, sql);
  if (!statement)
    return statement.error();
  sqlite_cursor cursor(*statement);
  const auto row = cursor.step();
  if (!row)
    return row.error();
  return *row ? cursor.number_at(0) : 0;
}

/// The change to WAL needs the file alone and does not wait for that itself.
status enter_wal(sqlite3* db, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto done = sqlite_run(db, "PRAGMA journal_mode = WAL");
    if (done || done.error().code != errc::unavailable ||
        std::chrono::steady_clock::now() >= end)
      return done;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

status check_damage(sqlite3* db) {
  const auto statement = sqlite_statement::prepare(db, "PRAGMA quick_check(1)");
  if (!statement)
    return statement.error();
  sqlite_cursor cursor(*statement);
  const auto row = cursor.step();
  if (!row)
    return row.error();
  const std::string text(*row ? cursor.blob_at(0) : "nothing");
  if (text != "ok")
    return sqlite_error(SQLITE_CORRUPT, "damaged", text.c_str());
  return success();
}

/// Creates the schema in an empty file, or checks that it is ours. Several
/// processes may come here at once: the write lock makes one of them the
/// creator, and gives the others one view of what it made.
status create_or_check(sqlite3* db) {
  sqlite_transaction transaction(db);
  if (auto begun = transaction.begin(sqlite_transaction::kind::write); !begun)
    return begun;
  const auto version = read_pragma(db, "PRAGMA user_version");
  const auto tables = read_pragma(db, "SELECT count(*) FROM sqlite_master");
  if (!version || !tables)
    return version ? tables.error() : version.error();
  if (*version > embedded_schema_version)
    return error{errc::bad_answer, "embedded store: schema " +
                                       std::to_string(*version) +
                                       " is newer than this version's " +
                                       std::to_string(embedded_schema_version)};
  if (*version == embedded_schema_version)
    return success();
  if (*tables != 0)
    return error{errc::bad_answer,
                 "embedded store: the database of another program"};
  if (auto made = sqlite_run(db, schema); !made)
    return made;
  return transaction.commit();
}

/// A file that has our schema already opens without the write lock: on a full
/// disk, say.
status settle_schema(sqlite3* db) {
  const auto version = read_pragma(db, "PRAGMA user_version");
  if (!version)
    return version.error();
  return *version == embedded_schema_version ? success() : create_or_check(db);
}

error at(const std::string& path, const error& problem) {
  return {problem.code, problem.message + " (" + path + ")"};
}

} // namespace

result<sqlite_handle> open_embedded_file(const std::string& path,
                                         std::chrono::milliseconds busy) {
  if (path.empty() || path.find('\0') != std::string::npos)
    return error{errc::invalid_argument, "embedded store: no path"};
  if (auto made = create_private(path); !made)
    return made.error();
  sqlite3* raw = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  sqlite_handle db(raw);
  if (code != SQLITE_OK)
    return sqlite_error(code, path, raw ? sqlite3_errmsg(raw) : nullptr);
  sqlite3_busy_timeout(raw, static_cast<int>(busy.count()));
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (auto good = sqlite_run(raw, "PRAGMA trusted_schema = OFF;"
                                  "PRAGMA cell_size_check = ON");
      !good)
    return at(path, good.error());
  if (auto good = enter_wal(raw, busy); !good)
    return at(path, good.error());
  if (auto good = sqlite_run(raw, "PRAGMA synchronous = NORMAL"); !good)
    return at(path, good.error());
  if (auto good = settle_schema(raw); !good)
    return at(path, good.error());
  if (auto good = check_damage(raw); !good)
    return at(path, good.error());
  return db;
}

} // namespace zedcup
