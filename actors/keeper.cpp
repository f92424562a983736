#include "actors/keeper.hpp"

#include <optional>
#include <set>
#include <utility>

#include "actors/guard.hpp"
#include "actors/kept_file.hpp"
#include "config/decode.hpp"

namespace zedcup {

namespace {

struct keeper_state {
  static inline const char* name = "zedcup.keeper";

  context_ptr ctx;
  std::string path;
  /// By the instances' names; that of the global settings is empty.
  std::optional<kept_file> file;
  bool leads = false;
  bool read = false;           ///< the store was, in this leadership
  std::set<std::string> fresh; ///< of the content, what the store gave

  void set_role(role now) {
    file->end();
    leads = now == role::leader;
    fresh.clear();
    read = false;
    if (!leads)
      return;
    file->begin();
    offer();
  }

  // ---- what the store holds ------------------------------------------------

  void note(const std::string& key, uint64_t revision,
            const std::string& json) {
    fresh.insert(key);
    file->note(key, revision, json);
  }

  void on_names(const std::vector<std::string>& names) {
    // What is gone is not offered, what is unusable still stands in the file.
    file->keep_only(names);
    if (!std::exchange(read, true))
      offer_unusable();
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
    if (file->content().empty())
      return;
    content_found found;
    found.saved = file->saved();
    for (auto& [key, entry] : file->content())
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
    found.saved = file->saved();
    for (auto& [key, entry] : file->content())
      if (!key.empty() && fresh.count(key) == 0)
        add(found, entry);
    if (!found.instances.empty())
      ctx->out->push(std::move(found));
  }
};

caf::behavior keeper(caf::stateful_actor<keeper_state>* self, context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.path = saved_path(ctx->options.state_dir, ctx->options.store_name());
  state.file.emplace(self, ctx, state.path);
  state.ctx = std::move(ctx);
  self->set_exit_handler([=](const caf::exit_msg& ended) {
    self->state.file->flush();
    self->quit(ended.reason);
  });
  return {
      [=](const msg::role_is& changed) { self->state.set_role(changed.now); },
      [=](const msg::keep_due& due) { self->state.file->on_due(due); },
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
          self->state.file->on_trouble(seen.text);
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
