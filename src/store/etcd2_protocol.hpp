// The keys API of etcd's version 2 as pure functions: write a request, read an
// answer. Reading only. Any thread; no I/O. Rules are from etcd's
// documentation of that API (2.3), checked against 3.4.23 with --enable-v2.
//
// Keys begin with a slash. Those with a segment that begins with "_" are hidden
// from whoever reads a folder above them, so zedcup never sees them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.hpp"
#include "store/etcd_options.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup::etcd2 {

/// One member, with user and password in its headers where there are any.
using target = std::shared_ptr<const http_endpoint>;

/// One per address, in order.
std::vector<target> make_targets(const etcd_options& options);

/// Every key below the folder. @param path begins and ends with "/"
/// @param quorum the members agree on what is newest; else the member's own
///        view, which may be behind
http_request read_tree(const target& to, std::string_view path, bool quorum);

/// The same without content: is the member well, and where is the store? Of
/// the folders below `path` only, and agreed on.
http_request look(const target& to, std::string_view path);

/// Answered by the first change below the folder from index `from` on. (A
/// server that is asked for a quorum here does not wait.)
http_request wait_for_change(const target& to, std::string_view path,
                             uint64_t from, std::chrono::milliseconds bound);

/// What a whole tree, or a look, says.
struct tree_answer {
  /// revision is the store's index, 0 where the server does not say; a folder
  /// without keys is an entry whose key ends in "/", as Consul has them.
  kv_tree tree;
  std::string cluster_id; ///< empty: the server does not say
};

/// A folder that is not there is an empty one. Errors: denied, unavailable,
/// not_found (no v2 API), bad_answer (also: `path` is a key, no folder).
result<tree_answer> parse_tree(const http_response& answer,
                               std::string_view path);

enum class news {
  none,     ///< the server gave up waiting
  change,   ///< something changed
  outdated, ///< it no longer knows what happened since: read again
};
result<news> parse_change(const http_response& answer);

} // namespace zedcup::etcd2
