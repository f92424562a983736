#include "config/decode_fields.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "util/text.hpp"

namespace zedcup {

namespace {

constexpr size_t max_diagnostics = 100;
constexpr size_t max_path_length = 256;

constexpr const char* table_expected = "expected a table, got ";
constexpr const char* value_expected = "expected a value, got a table";

bool is_ours(std::string_view key) noexcept {
  return !key.empty() && key.front() == '_';
}

std::string join(const std::string& path, std::string_view key) {
  std::string out = path;
  if (!out.empty())
    out += '/';
  out += key;
  return out;
}

std::string_view trimmed(std::string_view value) noexcept {
  constexpr std::string_view blank = " \t\r\n\v\f";
  const size_t begin = std::min(value.find_first_not_of(blank), value.size());
  value.remove_prefix(begin);
  return value.substr(0, value.find_last_not_of(blank) + 1);
}

} // namespace

void complaint_log::add(diagnostic::level severity, const std::string& path,
                        std::string message) {
  errors_ += severity == diagnostic::level::error ? 1 : 0;
  if (kept_.size() < max_diagnostics) {
    kept_.push_back(
        {severity, printable(path, max_path_length), std::move(message)});
    return;
  }
  ++more_;
  if (severity == diagnostic::level::error)
    worst_of_more_ = severity;
}

std::vector<diagnostic> complaint_log::take() {
  if (more_ != 0)
    kept_.push_back(
        {worst_of_more_, "", "and " + std::to_string(more_) + " more"});
  more_ = 0;
  return std::move(kept_);
}

table_reader::table_reader(const tree& table, const std::string& path,
                           complaint_log& log)
    : table_(table), path_(path), log_(log) {
  if (table.text && !table.text->empty())
    log_.error(path, table_expected + quoted(*table.text));
}

const tree* table_reader::take_table(std::string_view key) {
  known_.push_back(key);
  return table_.find(key);
}

const tree* table_reader::take(std::string_view key) {
  const tree* node = take_table(key);
  return node == nullptr || node->empty() ? nullptr : node;
}

const std::string* table_reader::leaf(std::string_view key) {
  const tree* node = take(key);
  if (node == nullptr)
    return nullptr;
  if (node->is_leaf())
    return &*node->text;
  reject(key, value_expected);
  return nullptr;
}

const std::string* table_reader::required_leaf(std::string_view key) {
  if (take(key) == nullptr) {
    reject(key, "required");
    return nullptr;
  }
  return leaf(key);
}

void table_reader::text(std::string_view key, std::string& out) {
  const auto* value = leaf(key);
  if (value != nullptr && !value->empty())
    out = to_utf8(*value);
}

void table_reader::boolean(std::string_view key, bool& out) {
  const auto* value = leaf(key);
  if (value == nullptr)
    return;
  if (*value == "true" || *value == "false")
    out = *value == "true";
  else
    reject(key, "expected true or false, got " + quoted(*value));
}

std::optional<uint64_t> table_reader::integer(std::string_view key,
                                              uint64_t low, uint64_t high) {
  const auto* value = leaf(key);
  if (value == nullptr)
    return std::nullopt;
  const auto number = parse_integer(*value, low, high);
  if (!number)
    reject(key, "expected " + std::to_string(low) + ".." +
                    std::to_string(high) + ", got " + quoted(*value));
  return number;
}

bool table_reader::ignored_as_empty(std::string_view key, const tree& node) {
  if (!node.empty())
    return false;
  log_.notice(path_of(key), "an empty table counts as absent; true takes "
                            "the defaults");
  return true;
}

tree table_reader::unknown() {
  tree out;
  for (const auto& [key, node] : table_.children) {
    if (is_ours(key) ||
        std::find(known_.begin(), known_.end(), key) != known_.end())
      continue;
    log_.notice(path_of(key), "unknown key");
    out.children.emplace(to_utf8(key), kept_copy(node, path_of(key), log_));
  }
  return out;
}

void table_reader::reject(std::string_view key, std::string message) {
  failed_ = true;
  log_.error(path_of(key), std::move(message));
}

std::string table_reader::path_of(std::string_view key) const {
  return join(path_, key);
}

// Depth is bounded by max_tree_depth.
// NOLINTNEXTLINE(misc-no-recursion)
tree kept_copy(const tree& node, const std::string& path, complaint_log& log) {
  tree out;
  for (const auto& [key, child] : node.children)
    out.children.emplace(to_utf8(key), kept_copy(child, join(path, key), log));
  if (node.is_leaf())
    out.text = to_utf8(*node.text);
  else if (node.text && !node.text->empty())
    log.error(path, table_expected + quoted(*node.text));
  return out;
}

std::optional<uint64_t> parse_integer(std::string_view value, uint64_t low,
                                      uint64_t high) noexcept {
  value = trimmed(value);
  uint64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, failure] = std::from_chars(value.data(), end, number);
  if (failure != std::errc{} || stop != end || number < low || number > high)
    return std::nullopt;
  return number;
}

namespace {

// An element's own `_idx`, or nullopt. `bad` is set when it is not an index.
std::optional<uint32_t> explicit_index(const tree& node, bool& bad) {
  const tree* given = node.find("_idx");
  if (given == nullptr)
    return std::nullopt;
  const auto index =
      given->is_leaf() ? numeric_segment(*given->text) : std::nullopt;
  bad = !index;
  return index;
}

} // namespace

std::vector<list_element> list_elements(const tree& list,
                                        const std::string& path,
                                        complaint_log& log, bool& dropped) {
  std::vector<list_element> out;
  std::vector<list_element> by_place; // those without `_idx`
  std::set<uint32_t> taken;
  const auto drop = [&](const std::string& where, const char* why) {
    log.error(where, why);
    dropped = true;
  };
  for (const auto& [segment, node] : list.children) {
    if (is_ours(segment))
      continue;
    const auto place = numeric_segment(segment);
    std::string where = join(path, segment);
    bool bad = false;
    const auto given = explicit_index(node, bad);
    if (!place)
      drop(where, "expected a number from 1 as the index");
    else if (bad)
      drop(join(where, "_idx"), "expected a number from 1");
    else if (!given)
      by_place.push_back({*place, std::move(where), &node});
    else if (taken.insert(*given).second)
      out.push_back({*given, std::move(where), &node});
    else
      drop(join(where, "_idx"), "is another element's index too");
  }
  for (auto& element : by_place) {
    if (!taken.insert(element.index).second) {
      if (*taken.rbegin() == std::numeric_limits<uint32_t>::max()) {
        drop(element.path, "is another element's index too");
        continue;
      }
      element.index = *taken.rbegin() + 1;
      taken.insert(element.index);
    }
    out.push_back(std::move(element));
  }
  std::sort(out.begin(), out.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  return out;
}

} // namespace zedcup
