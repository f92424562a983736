#include "actors/keeper.hpp"

#include <map>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>

#include "actors/guard.hpp"
#include "config/decode.hpp"
#include "saved_content.hpp"

namespace zedcup {

namespace {

using verb = msg::keep_due::verb;

constexpr std::chrono::seconds save_interval{1};
/// How often the file says that the store still holds the same; and how often
/// a file that could not be written is tried again.
constexpr std::chrono::seconds confirm_interval{60};

struct keeper_state {
  static inline const char* name = "zedcup.keeper";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::string path;
  std::string store;
  bool leads = false;
  uint64_t generation = 0; ///< of a leadership

  /// By name; that of the global settings is empty.
  std::map<std::string, saved_content::entry> content;
  std::set<std::string> fresh; ///< of them, what the store gave
  uint64_t saved = 0;          ///< when the store held it, as far as known
  bool read = false;           ///< the store was, in this leadership
  bool troubled = false;

  bool changed = false; ///< since it was written
  bool waiting = false; ///< a save is due
  std::optional<std::chrono::steady_clock::time_point> last_save;
  std::string complaint; ///< of the last save, if it failed

  void set_role(role now) {
    flush();
    leads = now == role::leader;
    ++generation;
    content.clear();
    fresh.clear();
    read = troubled = changed = waiting = false;
    if (!leads)
      return;
    load();
    offer();
    later(confirm_interval, verb::confirm);
  }

  void later(std::chrono::milliseconds time, verb what) {
    self->delayed_send(self, time, msg::keep_due{what, generation});
  }

  void on_due(const msg::keep_due& due) {
    if (!leads || due.generation != generation)
      return;
    switch (due.what) {
    case verb::save:
      return save();
    case verb::confirm:
      later(confirm_interval, verb::confirm);
      if (changed)
        save();
      else if (read && !troubled)
        touch_file(path);
    }
  }

  // ---- the file ------------------------------------------------------------

  void load() {
    auto file = read_file(path);
    if (!file) {
      if (file.error().code != errc::not_found)
        ctx->log->warn("zedcup_state_dir: {}", file.error().message);
      return;
    }
    std::vector<std::string> complaints;
    auto found = from_text(file->text, store, complaints);
    if (!found)
      complaints.push_back(found.error().message);
    for (auto& text : complaints)
      ctx->log->warn("zedcup_state_dir: {}: {}", path, text);
    if (!found)
      return;
    saved = file->changed;
    for (auto& entry : found->entries)
      content.insert_or_assign(entry.name, entry);
  }

  void save_soon() {
    if (waiting)
      return;
    const auto now = self->clock().now();
    if (!last_save || now - *last_save >= save_interval)
      return save();
    waiting = true;
    const auto rest = *last_save + save_interval - now;
    later(std::chrono::ceil<std::chrono::milliseconds>(rest), verb::save);
  }

  void flush() {
    if (waiting)
      save();
  }

  void save() {
    waiting = false;
    last_save = self->clock().now();
    saved_content all;
    for (auto& [key, entry] : content) {
      all.entries.push_back(entry);
      all.revision = std::max(all.revision, entry.revision);
    }
    auto problem = write_file(path, to_text(all, store));
    changed = problem.has_value();
    auto text = problem ? problem->message : std::string();
    if (text == complaint)
      return;
    complaint = std::move(text);
    if (complaint.empty())
      ctx->log->info("zedcup_state_dir: {} is written again", path);
    else
      ctx->log->warn("zedcup_state_dir: {}; the content is not kept",
                     complaint);
  }

  // ---- what the store holds ------------------------------------------------

  void note(const std::string& key, uint64_t revision,
            const std::string& json) {
    fresh.insert(key);
    auto& known = content[key];
    if (known.json == json)
      return;
    known = {key, revision, json};
    changed = true;
  }

  void on_names(const std::vector<std::string>& names) {
    const std::unordered_set<std::string> wanted(names.begin(), names.end());
    for (auto at = content.begin(); at != content.end();)
      if (at->first.empty() || wanted.count(at->first) != 0) {
        ++at;
      } else {
        at = content.erase(at);
        changed = true;
      }
    if (!std::exchange(read, true))
      offer_unusable();
    if (changed)
      save_soon();
  }

  // ---- what it held --------------------------------------------------------

  void add(content_found& found, const saved_content::entry& entry) const {
    auto decoded = snapshot::from_json(entry.name, entry.json, entry.revision);
    if (decoded)
      found.instances.push_back(std::move(*decoded));
    else
      ctx->log->error("zedcup_state_dir: {}: instance {}: {}", path, entry.name,
                      decoded.error().message);
  }

  void offer() {
    if (content.empty())
      return;
    content_found found;
    found.saved = saved;
    for (auto& [key, entry] : content)
      if (key.empty())
        found.global_json = entry.json;
      else
        add(found, entry);
    ctx->out->push(std::move(found));
  }

  /// What is in the store, but has nothing usable in it.
  void offer_unusable() {
    content_found found;
    found.whole = false;
    found.saved = saved;
    for (auto& [key, entry] : content)
      if (!key.empty() && fresh.count(key) == 0)
        add(found, entry);
    if (!found.instances.empty())
      ctx->out->push(std::move(found));
  }
};

caf::behavior keeper(caf::stateful_actor<keeper_state>* self, context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.store = ctx->options.store_name();
  state.path = saved_path(ctx->options.state_dir, state.store);
  state.ctx = std::move(ctx);
  self->set_exit_handler([=](const caf::exit_msg& ended) {
    self->state.flush();
    self->quit(ended.reason);
  });
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::keep_due& due) { self->state.on_due(due); },
      [=](const msg::instance_is& seen) {
        auto& is = *seen.content;
        if (self->state.leads)
          self->state.note(is.config().name, is.revision(), is.json());
      },
      [=](const msg::global_is& seen) {
        if (self->state.leads)
          self->state.note("", 0, to_json(seen.config));
      },
      [=](const msg::instances_are& seen) {
        if (self->state.leads)
          self->state.on_names(seen.names);
      },
      [=](const msg::trouble& seen) {
        if (self->state.leads)
          self->state.troubled = !seen.text.empty();
      },
  };
}

} // namespace

caf::actor spawn_keeper(caf::actor_system& sys, context_ptr ctx,
                        bool own_thread) {
  if (!own_thread)
    return sys.spawn(keeper, std::move(ctx));
  return sys.spawn<caf::detached>(keeper, std::move(ctx));
}

} // namespace zedcup
