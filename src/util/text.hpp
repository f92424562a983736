// Text from outside (store values, configuration, answers) made fit for JSON
// and for logs. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace zedcup {

/// Whether `bytes` is well-formed UTF-8 (no overlong forms, no surrogates,
/// nothing above U+10FFFF: RFC 3629).
bool is_utf8(std::string_view bytes) noexcept;

/// `bytes` with every byte that is not part of well-formed UTF-8 replaced by
/// U+FFFD.
std::string to_utf8(std::string_view bytes);

/// `bytes` with everything but printable ASCII written as \xNN, and cut after
/// `limit` bytes of input (then "..." follows).
std::string printable(std::string_view bytes, size_t limit);

/// A value as diagnostics quote it: in double quotes, printable, cut at 64
/// bytes.
std::string quoted(std::string_view value);

} // namespace zedcup
