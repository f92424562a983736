// Base64 (RFC 4648, padded), as Consul and etcd wrap values in JSON.
// Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace zedcup {

std::string base64_encode(std::string_view bytes);

/// nullopt unless the text is canonical: alphabet, length, padding.
std::optional<std::string> base64_decode(std::string_view text);

} // namespace zedcup
