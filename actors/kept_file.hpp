// The file in system_options::state_dir in which an actor of the leading worker
// keeps what the store holds, for a start without it: see saved_content.hpp.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/context.hpp"
#include "actors/messages.hpp"
#include "saved_content.hpp"

namespace zedcup {

/// A member of its actor, which passes `keep_due` on to it. It reads and writes
/// the file where it is called: its actor has a thread of its own. A file that
/// cannot be written is a warning, once.
class kept_file {
public:
  kept_file(caf::event_based_actor* self, context_ptr ctx, std::string path);

  /// A leadership begins: takes what the file holds.
  void begin();
  /// It ends: writes what was still to be written, and forgets all.
  void end();
  /// Writes what was still to be written.
  void flush();
  void on_due(const msg::keep_due& due);

  /// By name: what the store holds, as far as known.
  const std::map<std::string, saved_content::entry>& content() const {
    return content_;
  }
  /// When it held that: unix time.
  uint64_t saved() const { return saved_; }

  void note(const std::string& name, uint64_t revision,
            const std::string& json);
  /// All of the store was read: what is not named goes, but for the name "".
  /// The file follows soon, at most once a second.
  void keep_only(const std::vector<std::string>& names);
  /// The store fails ("": it works): nobody knows whether it still holds this.
  void on_trouble(const std::string& text) { troubled_ = !text.empty(); }

private:
  using verb = msg::keep_due::verb;

  void later(std::chrono::milliseconds time, verb what);
  void load();
  void save();
  void save_soon();

  caf::event_based_actor* self_;
  context_ptr ctx_;
  std::string path_;
  std::string store_;
  uint64_t generation_ = 0; ///< of a leadership

  std::map<std::string, saved_content::entry> content_;
  uint64_t saved_ = 0;
  bool read_ = false; ///< the store was, in this leadership
  bool troubled_ = false;

  bool changed_ = false; ///< since it was written
  bool waiting_ = false; ///< a save is due
  std::optional<std::chrono::steady_clock::time_point> last_save_;
  std::string complaint_; ///< of the last save, if it failed
};

} // namespace zedcup
