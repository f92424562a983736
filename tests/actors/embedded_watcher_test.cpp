// The follower of the embedded store, against a store that is scripted.
#include "actors/embedded_actors.hpp"

#include <algorithm>

#include "actor_fixture.hpp"
#include "fake_store.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using fate = fake_store::fate;
using lines = std::vector<std::string>;

const error locked{errc::unavailable, "database is locked"};
const std::string config_prefix = "zedcup/config/";
const std::string instances_prefix = "zedcup/instances/";

struct has_store {
  fake_store store;
};

/// What the syncer hears, in order, by name.
class watching : public has_store, public actor_fixture {
public:
  watching() {
    put(place::syncer,
        spawn_small(actors, [this](caf::event_based_actor*) -> caf::behavior {
          return {
              [this](const msg::instances_read& read) {
                heard.push_back("instances " +
                                std::to_string(read.tree->revision));
              },
              [this](const msg::global_read& read) {
                heard.push_back("config " +
                                std::to_string(read.tree->revision));
              },
              [this](const msg::trouble& trouble) {
                heard.push_back("trouble " + trouble.text);
              },
          };
        }));
    put(place::store, spawn_fake_store(actors, store));
    put(place::watcher, spawn_embedded_watcher(actors, ctx));
    store.revision = 1;
  }

  void become(role now) { tell_watcher(msg::role_is{now}); }
  void kick() { tell_watcher(msg::kick{}); }

  template <class Message>
  void tell_watcher(Message message) {
    send(lookup(actors, place::watcher), std::move(message));
  }

  lines take() { return std::exchange(heard, {}); }

  /// The same without the troubles.
  lines take_content() {
    lines kept;
    for (auto& line : take())
      if (line.rfind("trouble", 0) != 0)
        kept.push_back(line);
    return kept;
  }

  lines heard;
};

} // namespace

TEST_CASE_METHOD(watching, "embedded watcher: a follower asks nothing",
                 "[embedded_watcher]") {
  kick();
  pass(1s);
  CHECK(store.revision_asks == 0);
  CHECK(take().empty());
}

TEST_CASE_METHOD(watching, "embedded watcher: a leader reads at once",
                 "[embedded_watcher]") {
  become(role::leader);
  CHECK(take_content() == lines{"config 1", "instances 1"});
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: looks at the revision, and reads "
                 "when it moved",
                 "[embedded_watcher]") {
  become(role::leader);
  take();
  pass(1s);
  CHECK(store.revision_asks == 6);
  CHECK(store.reads.size() == 2);
  CHECK(take().empty());
  store.revision = 2;
  pass(200ms);
  CHECK(take_content() == lines{"config 2", "instances 2"});
  store.revision = 1; // another file under the same name, say
  pass(200ms);
  CHECK(take_content() == lines{"config 1", "instances 1"});
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: a kick does not wait for the poll",
                 "[embedded_watcher]") {
  become(role::leader);
  take();
  store.revision = 2;
  kick();
  CHECK(take_content() == lines{"config 2", "instances 2"});
}

TEST_CASE_METHOD(watching, "embedded watcher: a kick during a look is not lost",
                 "[embedded_watcher]") {
  become(role::leader);
  take();
  store.revision = 2;
  bool kicked = false;
  store.before = [&] {
    if (store.reads.empty() || kicked || store.reads.back() != instances_prefix)
      return;
    kicked = true; // during the last read of this look
    tell(actors, place::watcher, msg::kick{});
  };
  store.reads.clear();
  kick();
  CHECK(kicked);
  // One more question, which finds nothing new.
  CHECK(store.revision_asks == 3);
  CHECK(take_content() == lines{"config 2", "instances 2"});
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: settings that change between the two reads "
                 "are read again",
                 "[embedded_watcher]") {
  store.revision = 6;
  store.read_revisions[config_prefix] = 5;
  become(role::leader);
  CHECK(take_content() == lines{"config 5", "instances 6"});
  store.read_revisions.clear();
  pass(200ms);
  CHECK(take_content() == lines{"config 6", "instances 6"});
  pass(1s);
  CHECK(take_content().empty());
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: the first success says all is well",
                 "[embedded_watcher]") {
  // The zone may still hold the complaint of the leader before.
  become(role::leader);
  CHECK(take() == lines{"config 1", "instances 1", "trouble "});
  pass(1s);
  CHECK(take().empty());
  become(role::leader);
  CHECK(take() == lines{"config 1", "instances 1", "trouble "});
}

TEST_CASE_METHOD(watching, "embedded watcher: an error is logged once",
                 "[embedded_watcher]") {
  store.script = {locked, locked, fate::served, locked};
  become(role::leader);
  CHECK(take_log() ==
        lines{"5 embedded store: database is locked; trying again"});
  pass(400ms);
  CHECK(take_log().empty());
  const auto told = take();
  CHECK(std::count(told.begin(), told.end(),
                   "trouble embedded store: database is locked") >= 1);
  CHECK(told.front() == "trouble embedded store: database is locked");
  pass(200ms);
  CHECK(take() == lines{"config 1", "instances 1", "trouble "});
  // The next trouble is news again.
  store.script = {locked};
  pass(200ms);
  CHECK(take_log().size() == 1);
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: an answer that never comes is an error",
                 "[embedded_watcher]") {
  store.script = {fate::unheard};
  become(role::leader);
  pass(9900ms);
  CHECK(take().empty());
  pass(300ms);
  CHECK(take_content() == lines{"config 1", "instances 1"});
  CHECK(take_log().size() == 1);
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: a store being restarted is awaited",
                 "[embedded_watcher]") {
  auto alive = lookup(actors, place::store);
  remove(place::store);
  become(role::leader);
  pass(1s);
  CHECK(take().empty());
  actors.registry().put(place_atom(place::store),
                        caf::actor_cast<caf::strong_actor_ptr>(alive));
  pass(200ms);
  CHECK(take_content() == lines{"config 1", "instances 1"});
}

TEST_CASE_METHOD(watching,
                 "embedded watcher: answers to an old leadership are dropped",
                 "[embedded_watcher]") {
  store.before = [&, first = true]() mutable {
    if (std::exchange(first, false)) { // on its way: the first answer
      tell(actors, place::watcher, msg::role_is{role::follower});
      tell(actors, place::watcher, msg::role_is{role::leader});
    }
  };
  become(role::leader);
  CHECK(take_content() == lines{"config 1", "instances 1"});
  become(role::follower);
  store.revision = 2;
  pass(1s);
  CHECK(take().empty());
}

TEST_CASE_METHOD(watching, "embedded watcher: each leadership polls once",
                 "[embedded_watcher]") {
  for (int i = 0; i < 5; ++i) {
    become(role::leader);
    become(role::follower);
  }
  become(role::leader);
  store.revision_asks = 0;
  pass(1s);
  CHECK(store.revision_asks == 5);
}
