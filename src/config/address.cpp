#include "config/address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>

namespace zedcup {

namespace {

constexpr std::string_view unix_scheme = "unix:";

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

bool is_name_char(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         c == '-' || c == '_';
}

bool is_label(std::string_view label) noexcept {
  return !label.empty() && label.size() <= 63 && label.front() != '-' &&
         label.back() != '-' &&
         std::all_of(label.begin(), label.end(), is_name_char);
}

bool is_host_name(std::string_view name) noexcept {
  if (!name.empty() && name.back() == '.')
    name.remove_suffix(1);
  if (name.empty() || name.size() > 253)
    return false;
  std::string_view label;
  for (size_t begin = 0; begin <= name.size(); begin += label.size() + 1) {
    label = name.substr(begin, name.find('.', begin) - begin);
    if (!is_label(label))
      return false;
  }
  // All-numeric, yet not IPv4: a slip of the pen, not a name.
  return !std::all_of(label.begin(), label.end(), is_digit);
}

std::optional<std::string> normalise_ipv6(std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  in6_addr address{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (inet_pton(AF_INET6, std::string{text}.c_str(), &address) != 1 ||
      inet_ntop(AF_INET6, &address, out.data(), out.size()) == nullptr)
    return std::nullopt;
  return "[" + std::string{out.data()} + "]";
}

bool is_ipv4(std::string_view text) {
  in_addr address{};
  return inet_pton(AF_INET, std::string{text}.c_str(), &address) == 1;
}

bool is_path(std::string_view path, size_t longest) noexcept {
  const auto is_printable = [](char c) { return c >= 0x20 && c <= 0x7e; };
  return path.size() >= 2 && path.size() <= longest && path.front() == '/' &&
         std::all_of(path.begin(), path.end(), is_printable);
}

bool is_socket_path(std::string_view path) noexcept {
  constexpr size_t longest = 107; // sun_path with its NUL
  return is_path(path, longest);
}

} // namespace

bool is_unix_address(std::string_view address) noexcept {
  return address.substr(0, unix_scheme.size()) == unix_scheme;
}

bool is_file_path(std::string_view path) noexcept {
  constexpr size_t longest = 1024;
  return is_path(path, longest);
}

std::optional<std::string> normalise_address(std::string_view address) {
  constexpr size_t longest = 254; // a host name with its final dot
  if (address.size() > longest || address.find('\0') != address.npos)
    return std::nullopt;
  if (is_unix_address(address)) {
    if (!is_socket_path(address.substr(unix_scheme.size())))
      return std::nullopt;
    return std::string{address};
  }
  if (address.find(':') != address.npos)
    return normalise_ipv6(address);
  if (is_ipv4(address) || is_host_name(address))
    return std::string{address};
  return std::nullopt;
}

} // namespace zedcup
