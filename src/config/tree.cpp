#include "config/tree.hpp"

#include <algorithm>
#include <charconv>

#include "config/tree_cursor.hpp"

namespace zedcup {

namespace {

// Takes the first non-empty segment off `path`; empty when none is left.
std::string_view next_segment(std::string_view& path) noexcept {
  const size_t begin = path.find_first_not_of('/');
  if (begin == std::string_view::npos) {
    path = {};
    return {};
  }
  path.remove_prefix(begin);
  const size_t length = std::min(path.find('/'), path.size());
  const std::string_view segment = path.substr(0, length);
  path.remove_prefix(length);
  return segment;
}

bool has_segment(std::string_view path) noexcept {
  return path.find_first_not_of('/') != std::string_view::npos;
}

tree& child_of(tree& parent, std::string_view segment) {
  const auto at = parent.children.lower_bound(segment);
  if (at != parent.children.end() && at->first == segment)
    return at->second;
  return parent.children.emplace_hint(at, segment, tree{})->second;
}

using leaf_list = std::vector<std::pair<std::string, std::string>>;

// Depth is bounded by max_tree_depth.
// NOLINTNEXTLINE(misc-no-recursion)
void collect(const tree& node, std::string& path, leaf_list& out) {
  if (node.text)
    out.emplace_back(path, *node.text);
  const size_t length = path.size();
  for (const auto& [segment, child] : node.children) {
    if (length != 0)
      path += '/';
    path += segment;
    collect(child, path, out);
    path.resize(length);
  }
}

} // namespace

bool segment_less::operator()(std::string_view a,
                              std::string_view b) const noexcept {
  const auto number_a = numeric_segment(a);
  const auto number_b = numeric_segment(b);
  if (number_a && number_b)
    return *number_a < *number_b;
  if (number_a || number_b)
    return number_a.has_value();
  return a < b;
}

bool tree_cursor::descend(std::string_view path) {
  while (has_segment(path)) {
    if (depth == max_tree_depth)
      return false;
    std::string_view segment = next_segment(path);
    if (depth + 1 == max_tree_depth && has_segment(path)) {
      const char* const end = path.data() + path.size();
      segment = {segment.data(), static_cast<size_t>(end - segment.data())};
      segment.remove_suffix(segment.size() - segment.find_last_not_of('/') - 1);
      path = {};
    }
    node = &child_of(*node, segment);
    ++depth;
  }
  return true;
}

const tree* tree::find(std::string_view segment) const {
  const auto at = children.find(segment);
  return at == children.end() ? nullptr : &at->second;
}

void tree::insert(std::string_view path, std::string_view value,
                  uint64_t leaf_flags) {
  tree_cursor at{this, 0};
  at.descend(path);
  const bool is_folder = path.empty() || path.back() == '/';
  if (is_folder && value.empty())
    return;
  at.node->text.emplace(value);
  at.node->flags = leaf_flags;
}

std::vector<std::pair<std::string, std::string>> tree::flatten() const {
  leaf_list out;
  std::string path;
  collect(*this, path, out);
  return out;
}

std::optional<uint32_t> numeric_segment(std::string_view segment) noexcept {
  if (segment.empty() || segment.front() < '1' || segment.front() > '9')
    return std::nullopt;
  uint32_t number = 0;
  const char* const end = segment.data() + segment.size();
  const auto [stop, failure] = std::from_chars(segment.data(), end, number);
  if (failure != std::errc{} || stop != end)
    return std::nullopt;
  return number;
}

} // namespace zedcup
