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

/// Tables nest at most this deep: far beyond any configuration, and shallow
/// enough that walking a tree recursively cannot overflow a stack.
constexpr size_t max_tree_depth = 32;

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
  /// keys (`a/`, empty value) only make the table. Without any segment the
  /// text is this node's own. A path of more segments
  /// than max_tree_depth keeps its rest, slashes and all, in the last one.
  void insert(std::string_view path, std::string_view value,
              uint64_t flags = 0);

  /// Every leaf as (path, text), in key order. Inverse of `insert`; empty
  /// tables and flags have no place in it.
  std::vector<std::pair<std::string, std::string>> flatten() const;

  friend bool operator==(const tree& a, const tree& b) {
    return a.text == b.text && a.flags == b.flags && a.children == b.children;
  }
  friend bool operator!=(const tree& a, const tree& b) { return !(a == b); }
};

/// A positive decimal index without leading zeros ("1", "42"), or nullopt.
std::optional<uint32_t> numeric_segment(std::string_view segment) noexcept;

/// Whether a leaf is written to JSON as a number: a plain decimal that Lua
/// prints back unchanged, so that `tostring` gives the store's text. That is
/// an optional minus, no leading zeros, no exponent, no trailing zeros after
/// the point, at most 14 significant digits (%.14g, which Lua and cjson use),
/// not "-0" and not below 0.0001. "80", "-3" and "0.25" are numbers; "007",
/// "1.0", "1e5", "+5", " 5", "0x10", "nan" and longer ones remain strings.
bool reads_as_number(std::string_view text) noexcept;

/// JSON to a tree: arrays become "1", "2", …; scalars their text (numbers as
/// they are spelled); null is absent, in an array it leaves a gap. An object's
/// keys are paths as in the store: "a/b" is "b" in "a". Of equal keys the
/// tables merge and the last value stays. Errors (bad_answer) name the offset.
/// A value below more than max_tree_depth tables is an error, and so are
/// invalid UTF-8 and lone surrogates. Linear in the input but for ordering
/// keys; never recurses.
result<tree> tree_from_json(std::string_view json);

/// A tree as JSON objects. Leaves are written as number (see
/// reads_as_number), true/false or string; tables whose keys are exactly 1..n
/// become arrays, empty ones `{}`. Where a node has both text and children
/// the children are written. Always valid JSON: bytes that are not UTF-8
/// become U+FFFD.
std::string tree_to_json(const tree& node);

} // namespace zedcup
