#include "actors/syncer.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "actors/guard.hpp"
#include "config/decode.hpp"
#include "snapshot.hpp"
#include "store/write_plan.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

/// A redo record that is still there after this long has lost its writer, or
/// the one that was to complete it could not.
constexpr std::chrono::seconds pending_patience{30};

constexpr size_t longest_shown_name = 128;
/// Of an instance, that are shown in the status; the log has all.
constexpr size_t most_complaints = 50;

/// What was found wrong with some content, until it is handed out.
class complaints {
public:
  void add(const context& ctx, std::string text) {
    ctx.log->error("{}", text);
    if (fresh_.size() < most_complaints)
      fresh_.push_back(std::move(text));
  }

  /// Hands out what was added since the last time, if that is news.
  void tell(const context& ctx, const std::string& name) {
    if (fresh_ != told_)
      ctx.out->push(complaints_changed{name, fresh_});
    told_ = std::exchange(fresh_, {});
  }

private:
  std::vector<std::string> fresh_;
  std::vector<std::string> told_;
};

/// One instance as the store last showed it.
struct known_instance {
  std::vector<kv_entry> entries;
  std::string json;    ///< last handed out; empty: nothing usable so far
  uint64_t record = 0; ///< modify_index of the redo record that is watched
  complaints said;
};

/// The entries of one instance: a range of the (sorted) tree.
struct instance_slice {
  std::string name;
  std::vector<kv_entry>::const_iterator first, last;

  auto begin() const { return first; }
  auto end() const { return last; }
};

using decoded_instance = decoded<instance_config>;

bool same_content(const kv_entry& a, const kv_entry& b) {
  return a.key == b.key && a.value == b.value && a.flags == b.flags;
}

template <class A, class B>
bool same_entries(const A& a, const B& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_content);
}

struct syncer_state {
  static inline const char* name = "zedcup.syncer";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  role current = role::follower;
  uint64_t generation = 0; ///< of the role
  std::map<std::string, known_instance> known;
  std::vector<kv_entry> global_entries; ///< last complained about
  complaints global_complaints;
  std::string global_json;
  std::string instances_prefix;

  void start_over(role now) {
    current = now;
    ++generation;
    known.clear();
    global_entries.clear();
    global_complaints = {};
    global_json.clear();
    // Told so after a restart, it may have lost what it was given before.
    if (now == role::follower)
      ctx->out->push(content_wanted{});
  }

  // ---- leader ------------------------------------------------------------

  std::vector<instance_slice> slice(const kv_tree& tree) const {
    std::vector<instance_slice> slices;
    const auto skip = instances_prefix.size();
    for (auto at = tree.entries.begin(); at != tree.entries.end();) {
      auto slash = at->key.find('/', skip);
      if (slash == std::string::npos) { // a stray key beside the instances
        ++at;
        continue;
      }
      auto head = at->key.substr(0, slash + 1);
      auto end = at;
      while (end != tree.entries.end() && end->key.rfind(head, 0) == 0)
        ++end;
      slices.push_back({head.substr(skip, slash - skip), at, end});
      at = end;
    }
    return slices;
  }

  void on_instances(const kv_tree& tree) {
    std::vector<std::string> names;
    for (auto& part : slice(tree)) {
      names.push_back(part.name);
      auto& mine = known[part.name];
      if (same_entries(part, mine.entries))
        continue; // a new one has no entries yet, a slice has some
      mine.entries.assign(part.begin(), part.end());
      on_slice(part.name, mine, tree.revision);
      mine.said.tell(*ctx, part.name);
    }
    forget_absent(names);
    tell_readers(msg::instances_are{names});
    ctx->out->push(synced{tree.revision, std::move(names), true});
  }

  /// Those who want to know what is in the store.
  template <class Message>
  void tell_readers(const Message& message) {
    tell(self->system(), place::prober, message);
    tell(self->system(), place::host_reviver, message);
    tell(self->system(), place::keeper, message);
  }

  void forget_absent(const std::vector<std::string>& present) {
    std::unordered_set<std::string> wanted(present.begin(), present.end());
    for (auto at = known.begin(); at != known.end();)
      at = wanted.count(at->first) != 0 ? std::next(at) : known.erase(at);
  }

  void on_slice(const std::string& instance, known_instance& mine,
                uint64_t revision) {
    auto complaint = check_instance_name(instance);
    if (!complaint.empty()) {
      mine.said.add(*ctx, instances_prefix +
                              printable(instance, longest_shown_name) +
                              "/: " + complaint);
      return;
    }
    auto root = effective_tree(instance, mine);
    auto decoded = root ? decode_instance(instance, *root) : decoded_instance{};
    report(instances_prefix + instance + "/", decoded.diagnostics, mine.said);
    if (!decoded.value) {
      mine.said.add(*ctx, instances_prefix + instance +
                              "/: nothing usable in it, the last good content "
                              "(if there is one) stays");
      return;
    }
    auto content = snapshot::make(std::move(*decoded.value), revision);
    if (content->json() == mine.json)
      return;
    mine.json = content->json();
    tell_readers(msg::instance_is{content});
    ctx->out->push(
        instance_changed{instance, revision, std::move(content), true});
  }

  std::string record_key(const std::string& instance) const {
    return instances_prefix + instance + "/" + std::string(pending_key);
  }

  /// The configuration that the entries stand for: the redo record's, where
  /// a large rewrite is under way, else the plain keys'. nullopt: the record
  /// is unreadable; the keys beside it may be half of something.
  std::optional<tree> effective_tree(const std::string& instance,
                                     known_instance& mine) {
    const auto key = record_key(instance);
    const auto head_size = key.size() - pending_key.size();
    tree root;
    for (auto& entry : mine.entries) {
      if (entry.key == key)
        return redone_tree(instance, mine, entry);
      root.insert(std::string_view(entry.key).substr(head_size), entry.value,
                  entry.flags);
    }
    return root;
  }

  std::optional<tree> redone_tree(const std::string& instance,
                                  known_instance& mine, const kv_entry& entry) {
    auto record = parse_pending(entry.value);
    if (!record) {
      mine.said.add(*ctx, entry.key + ": " + record.error().message);
      return std::nullopt;
    }
    if (std::exchange(mine.record, entry.modify_index) != entry.modify_index)
      check_later(instance, entry.modify_index);
    tree redone;
    for (auto& [leaf, text] : record->leaves)
      redone.insert(leaf, text);
    return redone;
  }

  void check_later(const std::string& instance, uint64_t modify_index) {
    self->delayed_send(self, pending_patience,
                       msg::pending_check{instance, modify_index, generation});
  }

  void on_pending_check(const msg::pending_check& check) {
    auto at = known.find(check.instance);
    if (check.generation != generation || at == known.end())
      return;
    const auto key = record_key(check.instance);
    for (auto& entry : at->second.entries) {
      if (entry.key != key || entry.modify_index != check.modify_index)
        continue;
      ctx->log->warn("{}: its writer is gone, completing it", entry.key);
      tell(self->system(), place::writer,
           msg::complete_pending{check.instance,
                                 std::make_shared<const kv_entry>(entry)});
      return check_later(check.instance, check.modify_index);
    }
  }

  void on_global(const kv_tree& tree_read) {
    const auto head = ctx->options.prefix + "/config/";
    tree root;
    for (auto& entry : tree_read.entries)
      root.insert(std::string_view(entry.key).substr(head.size()), entry.value,
                  entry.flags);
    auto decoded = decode_global(root);
    if (!same_entries(global_entries, tree_read.entries)) {
      global_entries = tree_read.entries;
      report(head, decoded.diagnostics, global_complaints);
      global_complaints.tell(*ctx, "");
    }
    auto config = decoded.value.value_or(global_config{});
    auto json = to_json(config);
    if (json == global_json) {
      // The revision still counts: somebody may wait for it.
      ctx->out->push(
          global_changed{tree_read.revision, std::move(config), json, true});
      return;
    }
    global_json = json;
    hand_out_global(tree_read.revision, std::move(config), std::move(json));
  }

  void hand_out_global(uint64_t revision, global_config config,
                       std::string json) {
    tell(self->system(), place::watcher,
         msg::pace_is{config.consul_wait_time, config.watcher_interval});
    if (current == role::leader) {
      tell_readers(msg::global_is{config});
      tell(self->system(), place::session, msg::global_is{config});
    }
    ctx->out->push(global_changed{revision, std::move(config), std::move(json),
                                  current == role::leader});
  }

  void report(const std::string& head, const std::vector<diagnostic>& all,
              complaints& said) {
    for (auto& d : all) {
      if (d.severity == diagnostic::level::error)
        said.add(*ctx, head + d.path + ": " + d.message);
      else
        ctx->log->info("{}{}: {}", head, d.path, d.message);
    }
  }

  // ---- follower ----------------------------------------------------------

  void on_zone_instance(const msg::zone_instance& seen) {
    auto content = snapshot::from_json(seen.name, seen.json, seen.revision);
    if (!content)
      return ctx->log->error("zone: instance {}: {}", seen.name,
                             content.error().message);
    ctx->out->push(
        instance_changed{seen.name, seen.revision, std::move(*content), false});
  }

  void on_zone_global(const msg::zone_global& seen) {
    auto root = tree_from_json(seen.json);
    if (!root)
      return ctx->log->error("zone: the global settings: {}",
                             root.error().message);
    auto config = decode_global(*root).value.value_or(global_config{});
    hand_out_global(seen.revision, std::move(config), seen.json);
  }
};

caf::behavior syncer(caf::stateful_actor<syncer_state>* self, context_ptr ctx) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.instances_prefix = ctx->options.prefix + "/instances/";
  state.ctx = std::move(ctx);
  return {
      [=](const msg::role_is& changed) { self->state.start_over(changed.now); },
      [=](const msg::instances_read& read) {
        if (self->state.current == role::leader)
          self->state.on_instances(*read.tree);
      },
      [=](const msg::global_read& read) {
        if (self->state.current == role::leader)
          self->state.on_global(*read.tree);
      },
      [=](const msg::trouble& seen) {
        if (self->state.current != role::leader)
          return;
        tell(self->system(), place::keeper, seen);
        self->state.ctx->out->push(store_trouble{seen.text});
      },
      [=](const msg::pending_check& check) {
        self->state.on_pending_check(check);
      },
      [=](const msg::zone_instance& seen) {
        self->state.on_zone_instance(seen);
      },
      [=](const msg::zone_global& seen) { self->state.on_zone_global(seen); },
      [=](const msg::zone_synced& seen) {
        self->state.ctx->out->push(
            synced{seen.revision, std::nullopt, false, seen.restored});
      },
  };
}

} // namespace

caf::actor spawn_syncer(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(syncer, std::move(ctx));
}

} // namespace zedcup
