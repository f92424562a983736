// Host addresses as configuration may spell them. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace zedcup {

/// Whether an address names a unix socket ("unix:/path").
bool is_unix_address(std::string_view address) noexcept;

/// An address in its one spelling, or nullopt when it is none:
///  - IPv4 as four decimal numbers; all-numeric names that are not IPv4
///    ("10.0.0.256", "1.2.3") are refused, not looked up;
///  - IPv6 with or without brackets becomes RFC 5952 text in brackets, as
///    nginx, cosockets and URLs take it: "[::1]"; no zone ids;
///  - host names: RFC 1123 plus underscores, a final dot allowed, at most 253
///    bytes, kept as they are;
///  - `unix:` and an absolute path of printable ASCII, at most 107 bytes
///    (sun_path with its NUL, unix(7)).
std::optional<std::string> normalise_address(std::string_view address);

/// Whether a text is an absolute path that a configuration may name: printable
/// ASCII, 2..1024 bytes.
bool is_file_path(std::string_view path) noexcept;

} // namespace zedcup
