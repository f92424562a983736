// Restarts, back-off, roles and the end, on a clock that the test moves.
#include "actors/supervisor.hpp"

#include <map>
#include <stdexcept>

#include "actor_fixture.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using milliseconds = std::chrono::milliseconds;

/// What the children of one test did.
struct journal {
  std::map<place, int> starts;
  std::vector<std::string> events;
  int bad_spawns = 0; ///< so many spawns of the next child throw
  std::map<place, caf::actor> alive;
};

caf::behavior child_behavior(caf::event_based_actor* self, journal* book,
                             place where) {
  const auto name = caf::to_string(place_atom(where));
  // As ours: without a handler CAF writes to stderr.
  self->set_exception_handler([](std::exception_ptr&) {
    return caf::make_error(caf::sec::runtime_error);
  });
  self->attach_functor([book, name](const caf::error&) {
    book->events.push_back(name + " ended");
  });
  return {
      [=](const msg::role_is& role) {
        book->events.push_back(
            name + (role.now == role::leader ? " leads" : " follows"));
      },
      [=](const std::string& text) { throw std::runtime_error(text); },
  };
}

class supervised : public actor_fixture {
public:
  ~supervised() {
    if (top)
      caf::anon_send_exit(top, caf::exit_reason::user_shutdown);
    settle();
    book.alive.clear();
  }

  child_spec spec(place where, bool follows_role = false) {
    return {where,
            [this, where](caf::actor_system& sys) {
              if (book.bad_spawns > 0) {
                --book.bad_spawns;
                throw std::runtime_error("no thread");
              }
              ++book.starts[where];
              auto made = sys.spawn(child_behavior, &book, where);
              book.alive[where] = made;
              return made;
            },
            follows_role};
  }

  void start(std::vector<child_spec> children) {
    top = spawn_supervisor(actors, ctx, std::move(children));
    settle();
  }

  void fail(place where) { send(book.alive[where], std::string("boom")); }

  /// The delay that the log announced.
  milliseconds announced() {
    auto lines = take_log();
    REQUIRE(lines.size() == 1);
    INFO(lines[0]);
    auto at = lines[0].find(" again in ");
    REQUIRE(at != std::string::npos);
    CHECK(lines[0].substr(0, 2) == "4 ");
    return milliseconds{std::stol(lines[0].substr(at + 10))};
  }

  journal book;
  caf::actor top;
};

} // namespace

TEST_CASE_METHOD(supervised, "supervisor: enters its children in their places",
                 "[supervisor]") {
  start({spec(place::store), spec(place::syncer)});
  CHECK(lookup(actors, place::store) == book.alive[place::store]);
  CHECK(lookup(actors, place::syncer) == book.alive[place::syncer]);
  CHECK_FALSE(lookup(actors, place::writer));
}

TEST_CASE_METHOD(supervised, "supervisor: starts a failed child again, later",
                 "[supervisor]") {
  start({spec(place::store), spec(place::syncer)});
  fail(place::store);
  const auto delay = announced();
  CHECK_FALSE(lookup(actors, place::store));
  pass(delay - 1ms);
  CHECK(book.starts[place::store] == 1);
  pass(1ms);
  CHECK(book.starts[place::store] == 2);
  CHECK(book.starts[place::syncer] == 1);
  CHECK(lookup(actors, place::store) == book.alive[place::store]);
}

TEST_CASE_METHOD(supervised,
                 "supervisor: the delay doubles up to 10 s, with jitter",
                 "[supervisor]") {
  start({spec(place::store)});
  for (auto least :
       {100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 6400ms, 10000ms, 10000ms}) {
    fail(place::store);
    const auto delay = announced();
    CHECK(delay >= least);
    CHECK(delay <= least * 5 / 4);
    pass(delay);
    REQUIRE(lookup(actors, place::store));
  }
}

TEST_CASE_METHOD(supervised, "supervisor: the jitter is not always the same",
                 "[supervisor]") {
  start({spec(place::store)});
  std::vector<milliseconds> delays;
  for (int i = 0; i < 10; ++i) {
    fail(place::store);
    delays.push_back(announced());
    pass(delays.back());
    pass(61s); // healthy: each failure is a first one
  }
  std::sort(delays.begin(), delays.end());
  CHECK(delays.front() != delays.back());
  CHECK(delays.back() <= 125ms);
}

TEST_CASE_METHOD(supervised,
                 "supervisor: a healthy minute starts the count over",
                 "[supervisor]") {
  start({spec(place::store)});
  for (int i = 0; i < 4; ++i) {
    fail(place::store);
    pass(announced());
  }
  pass(59s); // not yet a minute
  fail(place::store);
  auto delay = announced();
  CHECK(delay >= 1600ms);
  pass(delay);
  pass(61s);
  fail(place::store);
  CHECK(announced() <= 125ms);
}

TEST_CASE_METHOD(supervised, "supervisor: each child has its own count",
                 "[supervisor]") {
  start({spec(place::store), spec(place::writer)});
  for (int i = 0; i < 4; ++i) {
    fail(place::store);
    pass(announced());
  }
  fail(place::writer);
  CHECK(announced() <= 125ms);
}

TEST_CASE_METHOD(supervised, "supervisor: passes the role on to those who ask",
                 "[supervisor]") {
  start({spec(place::store), spec(place::watcher, true)});
  send(top, msg::role_is{role::leader});
  CHECK(book.events == std::vector<std::string>{"watcher leads"});
}

TEST_CASE_METHOD(supervised,
                 "supervisor: a restart sends everyone follower, then the role",
                 "[supervisor]") {
  start({spec(place::store), spec(place::syncer, true),
         spec(place::watcher, true)});
  send(top, msg::role_is{role::leader});
  book.events.clear();
  fail(place::store);
  pass(announced());
  CHECK(book.events == std::vector<std::string>{
                           "store ended", "syncer follows", "syncer leads",
                           "watcher follows", "watcher leads"});
}

TEST_CASE_METHOD(supervised,
                 "supervisor: a role that changes while a child is down "
                 "reaches its successor",
                 "[supervisor]") {
  start({spec(place::watcher, true)});
  fail(place::watcher);
  send(top, msg::role_is{role::leader});
  book.events.clear();
  pass(announced());
  CHECK(book.events ==
        std::vector<std::string>{"watcher follows", "watcher leads"});
}

TEST_CASE_METHOD(supervised, "supervisor: ends its children, then itself",
                 "[supervisor]") {
  start({spec(place::store), spec(place::syncer)});
  top->attach_functor(
      [this](const caf::error&) { book.events.push_back("top ended"); });
  send(top, caf::exit_msg{nullptr, caf::exit_reason::user_shutdown});
  REQUIRE(book.events.size() == 3);
  CHECK(book.events.back() == "top ended");
  CHECK_FALSE(lookup(actors, place::store));
  CHECK_FALSE(lookup(actors, place::syncer));
  CHECK(take_log().empty());
}

TEST_CASE_METHOD(supervised, "supervisor: starts nobody again after its end",
                 "[supervisor]") {
  start({spec(place::store), spec(place::syncer)});
  fail(place::store);
  const auto delay = announced();
  send(top, caf::exit_msg{nullptr, caf::exit_reason::user_shutdown});
  pass(delay + 1s);
  CHECK(book.starts[place::store] == 1);
  CHECK_FALSE(lookup(actors, place::store));
}

TEST_CASE_METHOD(supervised,
                 "supervisor: survives a child that cannot even be spawned",
                 "[supervisor]") {
  book.bad_spawns = 2;
  start({spec(place::store), spec(place::syncer)});
  CHECK_FALSE(lookup(actors, place::store));
  CHECK_FALSE(lookup(actors, place::syncer));
  CHECK(take_log().size() == 2);
  pass(125ms);
  CHECK(lookup(actors, place::store));
  CHECK(lookup(actors, place::syncer));
  fail(place::store);
  book.bad_spawns = 1;
  pass(announced());
  const auto delay = announced();
  CHECK(delay >= 400ms);
  pass(delay);
  CHECK(lookup(actors, place::store));
}
