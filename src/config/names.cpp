// Names and paths as people write them: check_instance_name and lua_path.
#include <algorithm>

#include "config/decode.hpp"

namespace zedcup {

namespace {

bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_identifier(std::string_view text) noexcept {
  const auto is_part = [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9');
  };
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), is_part);
}

void append_lua_segment(std::string& out, std::string_view segment) {
  if (numeric_segment(segment)) {
    out.append("[").append(segment).append("]");
  } else if (is_identifier(segment)) {
    out.append(out.empty() ? "" : ".").append(segment);
  } else {
    out += "[\"";
    for (const char c : segment) {
      if (c == '"' || c == '\\')
        out += '\\';
      out += c;
    }
    out += "\"]";
  }
}

} // namespace

std::string lua_path(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t length = std::min(path.find('/'), path.size());
    if (length != 0)
      append_lua_segment(out, path.substr(0, length));
    path.remove_prefix(std::min(length + 1, path.size()));
  }
  return out;
}

std::string check_instance_name(std::string_view name) {
  constexpr size_t longest = 128;
  if (name.empty())
    return "an instance name must not be empty";
  if (name.size() > longest)
    return "an instance name has at most 128 bytes";
  if (name.front() == '_')
    return "an instance name must not begin with \"_\"";
  if (name == "." || name == "..")
    return "an instance name must not be \".\" or \"..\"";
  const auto is_bad = [](char c) { return c < 0x20 || c > 0x7e || c == '/'; };
  if (std::any_of(name.begin(), name.end(), is_bad))
    return "an instance name is printable ASCII without \"/\"";
  return {};
}

} // namespace zedcup
