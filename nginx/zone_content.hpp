// A copy of what the shared zone holds. Event-loop thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nginx/ngx_http_zedcup.h"

namespace zedcup {

/// A text as the zone's functions take it.
inline const u_char* bytes(const std::string& text) {
  return reinterpret_cast<const u_char*>(text.data());
}

struct zone_content {
  struct entry {
    std::string name; ///< empty: the global settings
    uint64_t revision = 0;
    bool refused = false;            ///< newer content found no room
    std::optional<std::string> json; ///< nullopt: unchanged, or none
  };
  std::vector<entry> entries;            ///< all there are
  std::optional<std::string> complaints; ///< see publish_complaints()
  ngx_http_zedcup_zone_state_t state{};
  bool ours = false;   ///< it is our store's; else only state.seq is set
  bool failed = false; ///< out of memory while copying: look again later

  /// Copies under the zone's lock; the content of entries that changed after
  /// `seen` only (0: of all, UINT64_MAX: of none).
  static zone_content read(uint64_t seen);

  /// What the leader found wrong in the store, for the others to show: a JSON
  /// object of lists of texts, by instance ("": the global settings). Where it
  /// finds no room, nothing is shown.
  static void publish_complaints(const std::string& json);
};

} // namespace zedcup
