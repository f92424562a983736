// etcd's v3 API over its JSON gateway as pure functions: write a call, read an
// answer. Any thread; no I/O. Rules are from etcd's documentation of the
// gateway and of KV, Txn, Lease, Auth and Watch, checked against 3.4.23.
//
// etcd has no flags beside a value: a kv_entry with flags is kept as its value,
// a NUL byte, and "flags=<number>". Sessions are leases, named by their number
// in decimal; a key that is locked carries its holder's lease.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.hpp"
#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup::etcd {

/// One call: the path below the gateway's prefix, and the body of its POST.
struct call {
  std::string path; ///< "/kv/range"
  std::string body;
};

/// Where the gateway may be, newest first: etcd 3.4 on, 3.3, 3.2.
constexpr std::string_view gateway_prefixes[] = {"/v3", "/v3beta", "/v3alpha"};

/// Whether an answer says that there is no gateway at that prefix.
bool is_no_gateway(const http_response& answer);

/// Whether a call failed for want of a token that still counts.
bool is_stale_token(const http_response& answer);

/// What a status other than 200 means.
error refusal(const http_response& answer);

// ---- reading -----------------------------------------------------------

/// The first key behind all that start with `prefix`; "\0" (everything from
/// the start of the range on) when there is none.
std::string prefix_end(std::string_view prefix);

/// Every key in [first, end), at one revision of the cluster.
call read_range(std::string_view first, std::string_view end);

struct range_answer {
  kv_tree tree; ///< revision is the cluster's
  uint64_t cluster_id = 0;
};
result<range_answer> parse_range(const http_response& answer);

/// The key in [first, end) that was changed last, and how many there are: tells
/// whether a watch sleeps while it should not.
call look_range(std::string_view first, std::string_view end);

struct look_answer {
  uint64_t cluster_id = 0;
  uint64_t revision = 0; ///< the cluster's
  uint64_t changed = 0;  ///< highest mod_revision in the range; 0: none
  uint64_t count = 0;
};
result<look_answer> parse_look(const http_response& answer);

// ---- writing -----------------------------------------------------------

/// All ops or none. `held`: lock ops expect keys that their session holds
/// already; without it, keys that nobody holds.
/// Errors: too_large (naming the size and the limit), invalid_argument.
result<call> commit(const std::vector<kv_op>& ops, const commit_limits& limits,
                    bool held = false);

/// Errors: conflict when a condition did not hold.
result<commit_result> parse_commit(const http_response& answer,
                                   const std::vector<kv_op>& ops);

// ---- sessions ----------------------------------------------------------

call grant_lease(std::chrono::seconds ttl);
result<std::string> parse_lease(const http_response& answer);

call renew_lease(std::string_view id);
/// not_found: the lease is over.
status parse_renewal(const http_response& answer);

/// An unknown lease is fine.
call revoke_lease(std::string_view id);
status parse_revocation(const http_response& answer);

// ---- auth --------------------------------------------------------------

call authenticate(std::string_view user, std::string_view password);
/// The token for the Authorization header.
result<std::string> parse_token(const http_response& answer);

// ---- watching ----------------------------------------------------------

/// A stream of what changes in [first, end) from `revision` on.
call watch_range(std::string_view first, std::string_view end,
                 uint64_t revision);

/// One message of the stream.
struct watch_message {
  uint64_t cluster_id = 0;
  uint64_t revision = 0; ///< the cluster's; 0 where the message has none
  bool created = false;
  bool canceled = false;  ///< the stream is of no more use
  bool compacted = false; ///< ... since `revision` of watch_range is gone
  std::string reason;     ///< of `canceled`
  uint64_t changed = 0;   ///< highest mod_revision of its events; 0: none
};
result<watch_message> parse_watch(std::string_view message);

} // namespace zedcup::etcd
