// One health check of one host: what is sent, and what the answer says.
// Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "config/model.hpp"
#include "host_ref.hpp"
#include "net/http_message.hpp"
#include "util/body_pattern.hpp"
#include "util/result.hpp"

namespace zedcup {

/// The check that holds for a host: its own, else its pool's, else its
/// instance's, as a whole. Null: none, or switched off.
const healthcheck_config* check_in_force(const instance_config& instance,
                                         const pool_config& pool,
                                         const host_config& host);

/// Everything that the check of one host needs. Immutable once made.
struct probe {
  host_ref host;
  probe_kind kind = probe_kind::http;
  std::chrono::seconds interval{60};
  http_request request;
  std::set<std::string> bad_statuses;
  std::optional<body_pattern> body;

  /// Of the pool: bad probes that take the host down, good ones that bring it
  /// back, and how long a bad one counts.
  uint32_t max_errors = 3;
  uint32_t min_rises = 3;
  std::chrono::seconds window{60};

  bool taken_down = false; ///< the host is down, and zedcup did it
};

/// How to check a host; null when no check is in force or its body pattern is
/// unusable.
std::shared_ptr<const probe> make_probe(const instance_config& instance,
                                        const pool_config& pool,
                                        const host_config& host);

enum class verdict {
  good,
  bad,
  none, ///< nothing is known: it could not be sent, or was given up
  /// As `none`, and will stay so until someone changes the instance's settings
  /// or the files that they name.
  misconfigured,
};

struct judgement {
  verdict what = verdict::none;
  std::string why; ///< of all but `good`
};

judgement judge(const probe& asked, const result<http_response>& answer);

/// The body of a grpc.health.v1.Health/Check call.
std::string grpc_health_request(const std::string& service);

/// ServingStatus of its answer (1 is SERVING); nullopt: not such a message.
std::optional<uint64_t> grpc_health_status(std::string_view body);

} // namespace zedcup
