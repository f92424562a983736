#include "config/json_writer.hpp"

#include <algorithm>

#include "util/text.hpp"

namespace zedcup {

namespace {

using rapidjson::SizeType;

SizeType size_of(std::string_view text) {
  return static_cast<SizeType>(text.size());
}

// Keys are in segment order, so that a list has "1" first, "2" second, …
bool is_list(const tree& table) {
  uint32_t expected = 0;
  return !table.children.empty() &&
         std::all_of(table.children.begin(), table.children.end(),
                     [&](const auto& child) {
                       return numeric_segment(child.first) == ++expected;
                     });
}

size_t count_digits(std::string_view text) {
  return std::min(text.find_first_not_of("0123456789"), text.size());
}

} // namespace

bool reads_as_number(std::string_view text) noexcept {
  constexpr size_t max_digits = 14;
  constexpr size_t max_zeros_after_point = 3;
  const bool negative = !text.empty() && text.front() == '-';
  if (negative)
    text.remove_prefix(1);
  const size_t whole = count_digits(text);
  if (whole == 0 || whole > max_digits || (text[0] == '0' && whole > 1))
    return false;
  const bool is_zero = text[0] == '0';
  text.remove_prefix(whole);
  if (text.empty())
    return !(negative && is_zero);
  if (text.front() != '.')
    return false;
  text.remove_prefix(1);
  if (text.empty() || count_digits(text) != text.size() || text.back() == '0')
    return false;
  if (!is_zero)
    return whole + text.size() <= max_digits;
  const size_t zeros = text.find_first_not_of('0');
  return zeros <= max_zeros_after_point && text.size() - zeros <= max_digits;
}

void json_writer::key(std::string_view name) {
  if (is_utf8(name)) {
    out_.Key(name.data(), size_of(name));
    return;
  }
  const std::string fixed = to_utf8(name);
  out_.Key(fixed.data(), size_of(fixed));
}

void json_writer::string(std::string_view text) {
  if (is_utf8(text)) {
    // An empty view may point nowhere, which RapidJSON asserts against.
    out_.String(text.empty() ? "" : text.data(), size_of(text));
    return;
  }
  const std::string fixed = to_utf8(text);
  out_.String(fixed.data(), size_of(fixed));
}

void json_writer::leaf(std::string_view text) {
  if (text == "true" || text == "false")
    out_.Bool(text == "true");
  else if (reads_as_number(text))
    out_.RawValue(text.data(), text.size(), rapidjson::kNumberType);
  else
    string(text);
}

// Depth is bounded by max_tree_depth.
// NOLINTNEXTLINE(misc-no-recursion)
void json_writer::value(const tree& node) {
  if (node.is_leaf()) {
    leaf(*node.text);
  } else if (is_list(node)) {
    begin_array();
    for (const auto& child : node.children)
      value(child.second);
    end_array();
  } else {
    begin_object();
    members(node);
    end_object();
  }
}

// NOLINTNEXTLINE(misc-no-recursion)
void json_writer::members(const tree& table) {
  for (const auto& [segment, child] : table.children) {
    key(segment);
    value(child);
  }
}

} // namespace zedcup
