#include "util/text.hpp"

#include <cstdint>

namespace zedcup {

namespace {

bool is_continuation(unsigned char byte) noexcept {
  return (byte & 0xc0) == 0x80;
}

// Length of the well-formed sequence at the front, 0 when there is none.
// The second byte's bounds exclude overlong forms and surrogates
// (Unicode 15, table 3-7).
size_t sequence_length(std::string_view bytes) noexcept {
  const auto at = [&](size_t i) {
    return static_cast<unsigned char>(bytes[i]);
  };
  const unsigned char first = at(0);
  if (first < 0x80)
    return 1;
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    low = first == 0xe0 ? 0xa0 : low;
    high = first == 0xed ? 0x9f : high;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    low = first == 0xf0 ? 0x90 : low;
    high = first == 0xf4 ? 0x8f : high;
  }
  if (length == 0 || bytes.size() < length || at(1) < low || at(1) > high)
    return 0;
  for (size_t i = 2; i < length; ++i)
    if (!is_continuation(at(i)))
      return 0;
  return length;
}

void append_printable(std::string& out, char c) {
  constexpr const char* digits = "0123456789abcdef";
  if (c >= 0x20 && c <= 0x7e) {
    out += c;
    return;
  }
  const auto byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += digits[byte >> 4];
  out += digits[byte & 0xf];
}

} // namespace

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    if (length == 0)
      return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string to_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    if (length == 0)
      out += "\xef\xbf\xbd";
    else
      out.append(bytes.substr(0, length));
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string printable(std::string_view bytes, size_t limit) {
  std::string out;
  for (const char c : bytes.substr(0, limit))
    append_printable(out, c);
  if (bytes.size() > limit)
    out += "...";
  return out;
}

std::string quoted(std::string_view value) {
  constexpr size_t limit = 64;
  std::string out = "\"";
  out += printable(value.substr(0, limit), limit);
  out += value.size() > limit ? "\"..." : "\"";
  return out;
}

} // namespace zedcup
