// The untyped configuration: nested tables of text, the common form of store
// keys (`pools/1/hosts/2/port`), of JSON from Lua, and of redo records.
// Plain values; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/result.hpp"

namespace zedcup {

/// Orders numeric segments by number, before all others, so that "2" < "10".
struct segment_less {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const noexcept;
};

/// A table, a leaf, or (bad input) both: a key and keys below it.
/// Leaves are text; whoever decodes one decides whether it reads as a number.
struct tree {
  std::optional<std::string> text;
  uint64_t flags = 0; ///< the store's flags of `text`
  std::map<std::string, tree, segment_less> children;

  bool empty() const noexcept { return !text && children.empty(); }
  bool is_leaf() const noexcept { return text && children.empty(); }

  /// The child of that name, or nullptr.
  const tree* find(std::string_view segment) const;

  /// Sets the leaf at `path` ("pools/1/name"), making tables on the way.
  /// Empty segments ("a//b", a trailing slash) are ignored: Consul's "folder"
  /// keys (`a/`, empty value) only make the table.
  void insert(std::string_view path, std::string_view value,
              uint64_t flags = 0);

  /// Every leaf as (path, text), in key order. Inverse of `insert`.
  std::vector<std::pair<std::string, std::string>> flatten() const;
};

/// A positive decimal index without leading zeros ("1", "42"), or nullopt.
std::optional<uint32_t> numeric_segment(std::string_view segment) noexcept;

/// JSON to a tree: arrays become "1", "2", …; scalars their text; null is
/// absent. Errors name the offset. Nesting is limited to 32.
result<tree> tree_from_json(std::string_view json);

/// A tree as JSON objects. Leaves are written as number, true/false or
/// string, as they read ("number if it reads as one"); tables whose keys are
/// exactly 1..n become arrays.
std::string tree_to_json(const tree& node);

} // namespace zedcup
