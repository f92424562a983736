// Tables that occur at more than one place of a configuration. Internal to
// config.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "config/decode_fields.hpp"
#include "config/health_check.hpp"

namespace zedcup {

constexpr uint64_t longest_ms = 24ULL * 3600 * 1000;

/// Key `status_codes`. A bad pattern is left out; nothing but bad ones leaves
/// `out` alone.
/// @returns whether the key is there and not itself unusable.
bool decode_status_codes(table_reader& table, complaint_log& log,
                         std::set<std::string>& out);

/// Key `ssl`. A bad value means TLS with verification, never plain TCP.
void decode_tls(table_reader& table, complaint_log& log,
                std::optional<tls_config>& out);

/// Key `healthcheck`. A bad key inside disables the check.
void decode_healthcheck(table_reader& table, complaint_log& log,
                        std::optional<healthcheck_config>& out);

} // namespace zedcup
