#include "actors/peer_syncer.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "actors/guard.hpp"
#include "peers/service.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

/// Of one read: more would only fill the log.
constexpr size_t complaints_max = 20;
constexpr size_t longest_shown_key = 256;

struct known_peers {
  std::vector<kv_entry> entries; ///< as read last
  service content;
  std::string json;           ///< as told last; empty: never
  bool told = false;          ///< `json` is what others have
  bool bad_name = false;      ///< it stands for no service
  std::set<std::string> said; ///< complaints about `entries`
};

double unix_now() {
  using seconds = std::chrono::duration<double>;
  return seconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool same_content(const kv_entry& a, const kv_entry& b) {
  return a.key == b.key && a.value == b.value;
}

struct peer_syncer_state {
  static inline const char* name = "zedcup.peer_syncer";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::string path;

  std::map<std::string, known_peers> known;
  /// Keys that stand for no service, with what was said of them.
  std::map<std::string, std::string> strays;
  size_t complaints = 0; ///< of this read
  /// The next read is told to prober and keeper whole: they may be new ones.
  bool others_ask = true;

  void begin(const std::vector<known_service>& before, bool current) {
    for (const auto& one : before) {
      auto& mine = known[one.name];
      mine.content = service_from_json(one.name, one.json);
      mine.json = one.json;
      mine.told = current;
    }
  }

  void on_tree(const kv_tree& tree) {
    complaints = 0;
    std::set<std::string> seen;
    std::map<std::string, std::string> strays_now;
    for (auto at = tree.entries.begin(); at != tree.entries.end();) {
      const auto slash = at->key.find('/', path.size());
      if (slash == std::string::npos || at->key.size() < path.size()) {
        note_stray(*at, strays_now);
        ++at;
        continue;
      }
      const auto head = at->key.substr(0, slash + 1);
      auto end = at;
      while (end != tree.entries.end() && end->key.rfind(head, 0) == 0)
        ++end;
      auto service_name = head.substr(path.size(), slash - path.size());
      take(service_name, {at, end}, tree.revision);
      seen.insert(std::move(service_name));
      at = end;
    }
    strays = std::move(strays_now);
    others_ask = false;
    finish(tree.revision, seen);
  }

  /// The folder itself (Consul keeps a key for it) is no peer, and no error.
  void note_stray(const kv_entry& entry,
                  std::map<std::string, std::string>& seen) {
    if (entry.key.size() <= path.size() || entry.key.back() == '/')
      return;
    const auto [at, added] = seen.emplace(entry.key, entry.value);
    const auto old = strays.find(entry.key);
    if (added && (old == strays.end() || old->second != entry.value))
      complain(entry.key,
               "expected <service>/<host:port> below " + path + "; skipped");
  }

  void take(const std::string& service_name, std::vector<kv_entry> entries,
            uint64_t revision) {
    auto& mine = known[service_name];
    const bool same =
        std::equal(entries.begin(), entries.end(), mine.entries.begin(),
                   mine.entries.end(), same_content);
    if (same && (mine.bad_name || (mine.told && !others_ask)))
      return;
    const auto old = std::exchange(mine.entries, std::move(entries));
    const auto bad_name = check_service_name(service_name);
    mine.bad_name = !bad_name.empty();
    if (mine.bad_name)
      return complain(path + service_name + "/", bad_name + "; skipped");
    auto fresh = decode(service_name, mine, old);
    carry_over(fresh, mine.json.empty() ? nullptr : &mine.content, unix_now());
    mine.content = std::move(fresh);
    tell_service(mine, revision);
  }

  service decode(const std::string& service_name, known_peers& mine,
                 const std::vector<kv_entry>& old) {
    service fresh;
    fresh.name = service_name;
    std::set<std::string> taken;
    const auto said = std::exchange(mine.said, {});
    const auto skip = path.size() + service_name.size() + 1;
    for (const auto& entry : mine.entries) {
      const auto address = std::string_view(entry.key).substr(skip);
      if (address.empty())
        continue; // a folder's own key
      std::vector<peer_complaint> found;
      auto one = decode_peer(entry.key, address, entry.value, found);
      if (!one)
        found.push_back({entry.key, one.error().message + "; skipped"});
      else if (!taken.insert(one->name()).second)
        found.push_back({entry.key, "the same as another key; skipped"});
      else
        fresh.peers.push_back(std::move(*one));
      const bool was = !found.empty() && was_there(entry, old);
      for (const auto& complaint : found) {
        const auto line = complaint.key + '\n' + complaint.text;
        if (!was || said.count(line) == 0)
          complain(complaint.key, complaint.text);
        mine.said.insert(line);
      }
    }
    return fresh;
  }

  static bool was_there(const kv_entry& entry,
                        const std::vector<kv_entry>& old) {
    const auto at = std::lower_bound(
        old.begin(), old.end(), entry,
        [](const kv_entry& a, const kv_entry& b) { return a.key < b.key; });
    return at != old.end() && same_content(*at, entry);
  }

  void tell_service(known_peers& mine, uint64_t revision) {
    auto json = peers_json(mine.content);
    const msg::peers_are is{std::make_shared<const service>(mine.content),
                            revision, json};
    tell(self->system(), place::prober, is);
    tell(self->system(), place::keeper, is);
    if (mine.told && json == mine.json)
      return;
    mine.told = true;
    mine.json = std::move(json);
    ctx->out->push(
        feed_message{peers_changed{mine.content.name, revision, mine.json}});
  }

  void finish(uint64_t revision, const std::set<std::string>& seen) {
    if (complaints > complaints_max)
      ctx->log->error("{}: {} more complaints", path,
                      complaints - complaints_max);
    std::vector<std::string> names;
    for (auto at = known.begin(); at != known.end();) {
      if (seen.count(at->first) == 0) {
        at = known.erase(at);
        continue;
      }
      if (!at->second.bad_name)
        names.push_back(at->first);
      ++at;
    }
    tell(self->system(), place::prober, msg::services_are{names});
    tell(self->system(), place::keeper, msg::services_are{names});
    ctx->out->push(feed_message{peers_synced{revision, std::move(names)}});
  }

  void complain(const std::string& key, const std::string& text) {
    if (++complaints <= complaints_max)
      ctx->log->error("{}: {}", printable(key, longest_shown_key), text);
  }
};

caf::behavior
peer_syncer(caf::stateful_actor<peer_syncer_state>* self, context_ptr ctx,
            const std::shared_ptr<const std::vector<known_service>>& before,
            bool current) {
  log_exceptions(self, ctx);
  auto& state = self->state;
  state.self = self;
  state.path = ctx->options.content_prefix();
  state.ctx = std::move(ctx);
  state.begin(*before, current);
  return {
      [=](const msg::role_is&) { self->state.others_ask = true; },
      [=](const msg::instances_read& read) { self->state.on_tree(*read.tree); },
      [=](const msg::trouble& seen) {
        self->state.ctx->out->push(store_trouble{seen.text});
        tell(self->system(), place::keeper, seen);
      },
  };
}

} // namespace

caf::actor
spawn_peer_syncer(caf::actor_system& sys, context_ptr ctx,
                  std::shared_ptr<const std::vector<known_service>> before,
                  bool current) {
  return sys.spawn(peer_syncer, std::move(ctx), std::move(before), current);
}

} // namespace zedcup
