// Consul's HTTP API as pure functions: build a request, read an answer.
// Any thread; no I/O. Rules are from Consul's documentation of /v1/kv,
// /v1/txn, /v1/session and blocking queries, checked against 1.8.7.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.hpp"
#include "store/consul_options.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup::consul {

enum class read_mode {
  standard,   ///< the leader answers; a deposed one may for a moment
  consistent, ///< the leader asks its followers first
  stale,      ///< any server answers; mind tree_answer::last_contact
};

/// Consul caps `wait` at ten minutes.
constexpr std::chrono::seconds max_wait{600};

/// GET of everything that starts with `prefix`.
http_request read_tree(const consul_target& to, std::string_view prefix,
                       read_mode mode = read_mode::standard);

/// As read_tree, answered when something below `prefix` changed after `index`
/// or after `wait` (1 s .. max_wait) plus up to a sixteenth of it; the
/// request's timeout outlasts that by the endpoint's read_timeout. `index` 0
/// would not block and is sent as a plain read.
http_request blocking_read(const consul_target& to, std::string_view prefix,
                           uint64_t index, std::chrono::seconds wait,
                           read_mode mode = read_mode::standard);

struct tree_answer {
  kv_tree tree;         ///< revision is X-Consul-Index, which may be 0
  bool missing = false; ///< 404: no key has that prefix
  /// How long ago the answering server heard from the leader.
  std::chrono::milliseconds last_contact{0};
};

/// Reads the answer to read_tree and blocking_read. Only 404 means empty:
/// `[]`, an empty body, null, garbage, entries outside of `prefix` and a
/// missing index are bad_answer; no known leader, 429 and 5xx unavailable.
result<tree_answer> parse_tree(const http_response& answer,
                               std::string_view prefix);

/// PUT /v1/txn. Errors: too_large beyond `limits`, invalid_argument without
/// ops.
result<http_request> commit(const consul_target& to,
                            const std::vector<kv_op>& ops,
                            const commit_limits& limits);

/// Reads the answer to commit(ops). Errors: conflict with the first failed
/// operations' text (409), too_large (413), denied, unavailable. Note that
/// `unavailable` and `timed_out` leave open whether the commit happened.
result<commit_result> parse_commit(const http_response& answer,
                                   const std::vector<kv_op>& ops);

struct session_options {
  std::string name;
  std::chrono::milliseconds ttl{30000}; ///< 10 s .. 24 h unless configured
  bool delete_keys = false;             ///< behaviour when it ends: delete
  /// Held keys refuse other sessions this long after an invalidation.
  std::chrono::milliseconds lock_delay{0};
};

http_request create_session(const consul_target& to,
                            const session_options& options);
result<std::string> parse_session_id(const http_response& answer);

http_request renew_session(const consul_target& to, std::string_view id);
/// not_found: the session is gone, make another.
status parse_renewal(const http_response& answer);

/// Destroying an unknown session succeeds. Read with parse_flag.
http_request destroy_session(const consul_target& to, std::string_view id);

struct session_info {
  std::string id;
  std::string name;
  std::string node;
};
http_request list_sessions(const consul_target& to);
result<std::vector<session_info>> parse_sessions(const http_response& answer);

/// PUT that takes `key` for `session`; parse_flag tells whether it did. False:
/// another session holds it, or its lock-delay runs. `not_found`: the session
/// is gone.
http_request acquire(const consul_target& to, std::string_view key,
                     std::string_view value, std::string_view session);
/// Gives the key up; parse_flag tells whether the session held it.
http_request release(const consul_target& to, std::string_view key,
                     std::string_view value, std::string_view session);
result<bool> parse_flag(const http_response& answer);

/// As list_keys, but each key only up to the first "/" after the prefix, once.
http_request list_folders(const consul_target& to, std::string_view prefix);

/// Only the keys below a prefix. 404 gives none.
http_request list_keys(const consul_target& to, std::string_view prefix);
struct key_list {
  std::vector<std::string> keys;
  uint64_t revision = 0; ///< X-Consul-Index
};
result<key_list> parse_keys(const http_response& answer);

} // namespace zedcup::consul
