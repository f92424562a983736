// A place in a tree that is being built. Internal to config.
#pragma once

#include "config/tree.hpp"

namespace zedcup {

struct tree_cursor {
  tree* node = nullptr;
  size_t depth = 0; ///< segments between the root and `node`

  /// Moves to the node at `path` below this one, making it when needed.
  /// @returns false when this is as deep as trees go (the cursor stays).
  bool descend(std::string_view path);
};

} // namespace zedcup
