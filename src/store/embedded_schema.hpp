// Opens the embedded store's file: creates it, checks it, sets its pragmas.
// Blocking; the thread that owns the store.
#pragma once

#include <chrono>
#include <string>

#include "store/sqlite.hpp"
#include "util/result.hpp"

namespace zedcup {

/// The schema this version writes, kept in `PRAGMA user_version`. A file of a
/// newer one is refused.
constexpr int embedded_schema_version = 1;

/// A connection in WAL mode to a file with our schema, checked for damage.
result<sqlite_handle> open_embedded_file(const std::string& path,
                                         std::chrono::milliseconds busy);

} // namespace zedcup
