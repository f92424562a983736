// The store engine without a server: one SQLite file, shared by all workers of
// a node. Blocking; one instance per thread. Open after fork.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

struct embedded_options {
  /// How long to wait for another process's write.
  std::chrono::milliseconds busy_timeout{2000};
  /// Wall clock in ms since 1970, for sessions; empty: the system's.
  std::function<int64_t()> clock_ms;
};

struct embedded_session {
  std::string id;
  std::string name;
  std::chrono::milliseconds ttl{0};
};

/// SQLite in WAL mode with synchronous=NORMAL: a crash of nginx loses nothing,
/// a power cut may lose the last commits but never tears one.
///
/// Errors of all members: unavailable (busy beyond the bound, disk full, I/O),
/// bad_answer (not a database, damaged, a newer schema), denied (permissions,
/// read-only).
class embedded_store {
public:
  /// Opens the file, or makes it (mode 0600; its folder must exist).
  static result<embedded_store> open(const std::string& path,
                                     embedded_options options = {});

  embedded_store(embedded_store&&) noexcept;
  embedded_store& operator=(embedded_store&&) noexcept;
  ~embedded_store();

  /// Every key that starts with `prefix`, bytewise, at one revision.
  result<kv_tree> read_tree(std::string_view prefix);

  /// All ops or none, in order. Errors: conflict, naming the op.
  result<commit_result> commit(const std::vector<kv_op>& ops);

  /// The store's revision: grows with each commit of any process that changed
  /// something. Cheap (µs): ask often.
  result<uint64_t> revision();

  /// A session ends `ttl` after its last renewal; the keys that it holds are
  /// then released, or deleted where `delete_keys`.
  result<std::string> create_session(std::string_view name,
                                     std::chrono::milliseconds ttl,
                                     bool delete_keys);
  /// not_found: it is over, make another.
  status renew_session(std::string_view id);
  /// Ends it; an unknown one is fine.
  status destroy_session(std::string_view id);
  /// Those alive.
  result<std::vector<embedded_session>> sessions();
  /// Ends what is due now, which commits also do. Call about once a second
  /// where nothing else writes, so that locks of the dead become free.
  /// @returns how many ended.
  result<size_t> expire_sessions();

private:
  class impl;
  explicit embedded_store(std::unique_ptr<impl> opened);
  std::unique_ptr<impl> impl_;
};

} // namespace zedcup
