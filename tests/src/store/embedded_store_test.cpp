#include "store/embedded_store.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "store/write_plan.hpp"
#include "support/catch.hpp"
#include "support/memory_store.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace std::chrono_literals;
using zedcup::test::temp_dir;

namespace {

using verb = kv_op::verb;

struct fixture {
  temp_dir dir;
  std::string path = dir.file("zedcup.db");
  int64_t now_ms = 1000000;

  embedded_store open() {
    embedded_options options;
    options.clock_ms = [this] { return now_ms; };
    auto opened = embedded_store::open(path, options);
    if (!opened)
      FAIL(opened.error().message);
    return *std::move(opened);
  }
};

kv_op op(verb what, std::string key, std::string value = "",
         uint64_t index = 0) {
  kv_op made;
  made.what = what;
  made.key = std::move(key);
  made.value = std::move(value);
  made.index = index;
  return made;
}

kv_op held(verb what, std::string key, std::string session) {
  auto made = op(what, std::move(key), "me");
  made.session = std::move(session);
  return made;
}

commit_result must(result<commit_result> outcome) {
  if (!outcome)
    FAIL(outcome.error().message);
  return *outcome;
}

errc code_of(const result<commit_result>& outcome) {
  REQUIRE_FALSE(outcome);
  return outcome.error().code;
}

std::vector<std::string> keys(embedded_store& store,
                              std::string_view prefix = "") {
  const auto tree = store.read_tree(prefix);
  REQUIRE(tree);
  std::vector<std::string> found;
  for (const auto& entry : tree->entries)
    found.push_back(entry.key);
  return found;
}

error open_error(const std::string& path) {
  const auto opened = embedded_store::open(path);
  REQUIRE_FALSE(opened);
  return opened.error();
}

void run_sql(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
}

/// Runs `body` in a child process; true when it returned true.
template <class Body>
bool in_child(Body body) {
  const pid_t pid = fork();
  if (pid == 0)
    _exit(body() ? 0 : 1);
  int code = 0;
  while (waitpid(pid, &code, 0) < 0) {
  }
  return WIFEXITED(code) && WEXITSTATUS(code) == 0;
}

} // namespace

TEST_CASE("embedded: what was set is read back, sorted bytewise",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  auto set = op(verb::set, "z/b", std::string("\0\xff", 2));
  set.flags = UINT64_MAX;
  const auto made = must(
      store.commit({set, op(verb::set, "z/a"), op(verb::set, "z/\xff", "x")}));
  REQUIRE(made.revision > 1);
  REQUIRE(made.indexes == std::vector<uint64_t>(3, made.revision));
  const auto tree = store.read_tree("z/");
  REQUIRE(tree);
  REQUIRE(tree->revision == made.revision);
  REQUIRE(tree->entries.size() == 3);
  const kv_entry b{"z/b", std::string("\0\xff", 2), UINT64_MAX, made.revision,
                   ""};
  REQUIRE(tree->entries[1] == b);
  REQUIRE(tree->entries[0].value.empty());
}

TEST_CASE("embedded: prefixes are bytes, not patterns", "[embedded]") {
  fixture f;
  auto store = f.open();
  must(store.commit({op(verb::set, "a%/x"), op(verb::set, "ab/x"),
                     op(verb::set, "a_/x"), op(verb::set, "foo/1"),
                     op(verb::set, "foobar/1"), op(verb::set, "\xff\xff"),
                     op(verb::set, "\xff")}));
  REQUIRE(keys(store, "a%") == std::vector<std::string>{"a%/x"});
  REQUIRE(keys(store, "a_") == std::vector<std::string>{"a_/x"});
  REQUIRE(keys(store, "\xff").size() == 2);
  REQUIRE(keys(store).size() == 7);
  must(store.commit({op(verb::remove_tree, "foo/")}));
  REQUIRE(keys(store, "foo") == std::vector<std::string>{"foobar/1"});
  must(store.commit({op(verb::remove_tree, "\xff")}));
  REQUIRE(keys(store).size() == 4);
  must(store.commit({op(verb::remove_tree, "")}));
  REQUIRE(keys(store).empty());
}

TEST_CASE("embedded: conditions hold, and a failed one undoes everything",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  const auto first = must(store.commit({op(verb::set_if, "a", "1", 0)}));
  const auto index = first.indexes[0];
  const auto fails = [&](const kv_op& condition) {
    const auto before = store.revision();
    REQUIRE(code_of(store.commit({op(verb::set, "b", "x"), condition})) ==
            errc::conflict);
    REQUIRE(keys(store) == std::vector<std::string>{"a"});
    REQUIRE(*store.revision() == *before);
  };
  fails(op(verb::set_if, "a", "2", 0));
  fails(op(verb::set_if, "a", "2", index + 1));
  fails(op(verb::set_if, "c", "2", 5));
  fails(op(verb::remove_if, "a", "", index + 1));
  fails(op(verb::check_index, "a", "", index + 1));
  fails(op(verb::check_index, "c", "", 0));
  fails(op(verb::check_absent, "a"));
  must(store.commit(
      {op(verb::check_index, "a", "", index), op(verb::check_absent, "c"),
       op(verb::remove_if, "c", "", 9), op(verb::set_if, "a", "2", index)}));
  must(store.commit({op(verb::remove, "c"), op(verb::remove_tree, "d")}));
  REQUIRE(store.read_tree("a")->entries[0].value == "2");
}

TEST_CASE("embedded: ops see those before them", "[embedded]") {
  fixture f;
  auto store = f.open();
  must(store.commit({op(verb::set, "a", "1"), op(verb::remove_tree, "a"),
                     op(verb::check_absent, "a"), op(verb::set, "a", "2")}));
  REQUIRE(store.read_tree("a")->entries[0].value == "2");
}

TEST_CASE("embedded: the revision grows with changes only, for all to see",
          "[embedded]") {
  fixture f;
  auto one = f.open();
  auto two = f.open();
  const auto start = *one.revision();
  must(one.commit({op(verb::remove, "a"), op(verb::check_absent, "a")}));
  REQUIRE(*two.revision() == start);
  must(one.commit({op(verb::set, "a")}));
  REQUIRE(*two.revision() == start + 1);
  must(two.commit({op(verb::remove, "a")}));
  REQUIRE(*one.revision() == start + 2);
}

TEST_CASE("embedded: everything is there after a reopen", "[embedded]") {
  fixture f;
  must(f.open().commit({op(verb::set, "a", "1")}));
  auto store = f.open();
  REQUIRE(keys(store) == std::vector<std::string>{"a"});
  struct stat info {};
  REQUIRE(stat(f.path.c_str(), &info) == 0);
  REQUIRE((info.st_mode & 0777) == 0600);
}

TEST_CASE("embedded: a lock has one holder until it gives it up",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  const auto one = *store.create_session("one", 10s, false);
  const auto two = *store.create_session("two", 10s, false);
  REQUIRE(one != two);
  must(store.commit({held(verb::lock, "l", one)}));
  must(store.commit({held(verb::lock, "l", one)}));
  REQUIRE(code_of(store.commit({held(verb::lock, "l", two)})) ==
          errc::conflict);
  REQUIRE(code_of(store.commit({held(verb::unlock, "l", two)})) ==
          errc::conflict);
  REQUIRE(code_of(store.commit({held(verb::lock, "m", "nobody")})) ==
          errc::conflict);
  must(store.commit({op(verb::set, "l", "v")}));
  REQUIRE(store.read_tree("l")->entries[0].session == one);
  must(store.commit({held(verb::unlock, "l", one)}));
  REQUIRE(store.read_tree("l")->entries[0].session.empty());
  must(store.commit({held(verb::lock, "l", two)}));
}

TEST_CASE("embedded: a session that is not renewed ends, its keys by its "
          "behaviour",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  const auto releases = *store.create_session("a", 10s, false);
  const auto deletes = *store.create_session("b", 10s, true);
  const auto lives = *store.create_session("c", 10s, true);
  must(store.commit({held(verb::lock, "r", releases),
                     held(verb::lock, "d", deletes),
                     held(verb::lock, "l", lives)}));
  f.now_ms += 9999;
  REQUIRE(store.renew_session(lives));
  REQUIRE(*store.expire_sessions() == 0);
  const auto before = *store.revision();
  f.now_ms += 1;
  REQUIRE(store.sessions()->size() == 1);
  REQUIRE(*store.expire_sessions() == 2);
  REQUIRE(*store.expire_sessions() == 0);
  REQUIRE(*store.revision() == before + 1);
  const auto tree = *store.read_tree("");
  REQUIRE(tree.entries.size() == 2);
  REQUIRE(tree.entries[0].session == lives);
  REQUIRE(tree.entries[1].key == "r");
  REQUIRE(tree.entries[1].session.empty());
  REQUIRE(tree.entries[1].modify_index == before + 1);
  const auto gone = store.renew_session(releases);
  REQUIRE_FALSE(gone);
  REQUIRE(gone.error().code == errc::not_found);
}

TEST_CASE("embedded: a commit may take the lock of a session that lapsed",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  auto other = f.open();
  const auto dead = *store.create_session("dead", 1s, false);
  must(store.commit({held(verb::lock, "l", dead)}));
  f.now_ms += 1001;
  const auto next = *other.create_session("next", 10s, false);
  must(other.commit({held(verb::lock, "l", next)}));
  REQUIRE(code_of(store.commit({held(verb::unlock, "l", dead)})) ==
          errc::conflict);
  REQUIRE(store.destroy_session(next));
  REQUIRE(store.destroy_session("unknown"));
  REQUIRE(store.read_tree("l")->entries[0].session.empty());
}

TEST_CASE("embedded: unusable keys and ttls are refused", "[embedded]") {
  fixture f;
  auto store = f.open();
  REQUIRE(code_of(store.commit({op(verb::set, "")})) == errc::invalid_argument);
  REQUIRE(code_of(store.commit({op(verb::set, std::string(1025, 'x'))})) ==
          errc::invalid_argument);
  must(store.commit({op(verb::set, std::string(1024, '\xff'))}));
  REQUIRE(keys(store).size() == 1);
  REQUIRE_FALSE(store.create_session("a", 0s, false));
}

TEST_CASE("embedded: it agrees with the rules on random commits",
          "[embedded]") {
  fixture f;
  auto store = f.open();
  test::memory_store model;
  std::mt19937 random(42); // NOLINT: the same commits every time
  const auto pick = [&](unsigned n) { return random() % n; };
  std::map<std::string, uint64_t> indexes[2];
  const verb verbs[] = {verb::set,         verb::set_if,      verb::remove,
                        verb::remove_if,   verb::remove_tree, verb::check_index,
                        verb::check_absent};
  for (int round = 0; round < 400; ++round) {
    std::vector<kv_op> ops[2];
    for (unsigned n = 1 + pick(4); n > 0; --n) {
      auto made = op(verbs[pick(7)],
                     std::string(1, "abc"[pick(3)]) + std::string(pick(3), '/'),
                     std::to_string(random()));
      for (int side = 0; side < 2; ++side) {
        made.index = 0;
        if (indexes[side].count(made.key) != 0 && round % 3 != 0)
          made.index = indexes[side][made.key];
        ops[side].push_back(made);
      }
    }
    const auto got = store.commit(ops[0]);
    const auto expected = model.commit(ops[1]);
    REQUIRE(static_cast<bool>(got) == static_cast<bool>(expected));
    const auto tree = *store.read_tree("");
    REQUIRE(tree.entries.size() == model.entries().size());
    indexes[0].clear();
    indexes[1].clear();
    auto at = model.entries().begin();
    for (const auto& entry : tree.entries) {
      REQUIRE(entry.key == at->first);
      REQUIRE(entry.value == at->second.value);
      indexes[0][entry.key] = entry.modify_index;
      indexes[1][entry.key] = at->second.modify_index;
      ++at;
    }
  }
}

TEST_CASE("embedded: processes write and read at once and lose nothing",
          "[embedded]") {
  fixture f;
  // All of them create the file, too.
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    const pid_t pid = fork();
    if (pid == 0) {
      auto store = embedded_store::open(f.path);
      if (!store)
        _exit(2);
      for (int i = 0; i < 50; ++i) {
        // A counter by compare-and-set, as often as it takes.
        for (bool done = false; !done;) {
          const auto tree = store->read_tree("count");
          if (!tree)
            _exit(3);
          const bool there = !tree->entries.empty();
          const int count = there ? std::stoi(tree->entries[0].value) : 0;
          const auto made = store->commit(
              {op(verb::set_if, "count", std::to_string(count + 1),
                  there ? tree->entries[0].modify_index : 0)});
          if (!made && made.error().code != errc::conflict)
            _exit(4);
          done = static_cast<bool>(made);
        }
      }
      _exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int code = 0;
    REQUIRE(waitpid(pid, &code, 0) == pid);
    REQUIRE(WIFEXITED(code));
    REQUIRE(WEXITSTATUS(code) == 0);
  }
  auto store = f.open();
  REQUIRE(store.read_tree("count")->entries[0].value == "200");
}

TEST_CASE("embedded: processes may create the file all at once", "[embedded]") {
  const temp_dir dir;
  for (int round = 0; round < 60; ++round) {
    const auto path = dir.file(std::to_string(round));
    int gate[2]; // closed at once for all
    REQUIRE(pipe(gate) == 0);
    std::vector<pid_t> children;
    for (int child = 0; child < 4; ++child) {
      const pid_t pid = fork();
      if (pid == 0) {
        close(gate[1]);
        char byte = 0;
        (void)!read(gate[0], &byte, 1);
        _exit(embedded_store::open(path) ? 0 : 1);
      }
      children.push_back(pid);
    }
    close(gate[0]);
    close(gate[1]);
    for (const pid_t pid : children) {
      int code = 0;
      REQUIRE(waitpid(pid, &code, 0) == pid);
      REQUIRE(code == 0);
    }
  }
}

TEST_CASE("embedded: a reader beside a writer sees whole commits only",
          "[embedded]") {
  fixture f;
  auto reader = f.open();
  std::atomic<bool> stop{false};
  std::atomic<bool> failed{false};
  std::thread writer([&] {
    auto store = embedded_store::open(f.path);
    for (int i = 0; store && !stop; ++i) {
      const auto text = std::to_string(i);
      if (!store->commit({op(verb::remove_tree, ""), op(verb::set, "a", text),
                          op(verb::set, "b", text)}))
        failed = true;
    }
  });
  int seen = 0;
  while (seen < 200) {
    const auto tree = reader.read_tree("");
    REQUIRE(tree);
    if (tree->entries.empty())
      continue;
    REQUIRE(tree->entries.size() == 2);
    REQUIRE(tree->entries[0].value == tree->entries[1].value);
    ++seen;
  }
  stop = true;
  writer.join();
  REQUIRE_FALSE(failed);
}

TEST_CASE("embedded: a writer that dies mid-commit leaves nothing of it",
          "[embedded]") {
  fixture f;
  must(f.open().commit({op(verb::set, "a", "old")}));
  const pid_t pid = fork();
  if (pid == 0) {
    auto store = embedded_store::open(f.path);
    std::vector<kv_op> ops(2000, op(verb::set, "b", std::string(1000, 'x')));
    for (;;)
      (void)store->commit(ops);
  }
  std::this_thread::sleep_for(50ms); // anywhere in a commit
  kill(pid, SIGKILL);
  int code = 0;
  waitpid(pid, &code, 0);
  auto store = f.open();
  REQUIRE(store.read_tree("a")->entries[0].value == "old");
  must(store.commit({op(verb::set, "a", "new")}));
}

TEST_CASE("embedded: the plans for large instances run on it", "[embedded]") {
  fixture f;
  auto store = f.open();
  kv_leaves leaves;
  for (int i = 0; i < 200; ++i)
    leaves.emplace_back("pools/1/hosts/" + std::to_string(i) + "/host", "x");
  auto plan = write_plan::replace_instance("z", "foo", leaves, "id", {});
  REQUIRE(plan);
  while (const auto ops = plan->next())
    plan->committed(must(store.commit(*ops)));
  REQUIRE(keys(store, "z/instances/foo/").size() == 200);
}

TEST_CASE("embedded: files that are no store are refused with a reason",
          "[embedded]") {
  fixture f;
  SECTION("not a database") {
    std::ofstream(f.path) << std::string(10000, 'x');
    REQUIRE(open_error(f.path).code == errc::bad_answer);
    REQUIRE(open_error(f.path).message.find("not a database") !=
            std::string::npos);
  }
  SECTION("a newer schema") {
    f.open();
    run_sql(f.path, "PRAGMA user_version = 2");
    REQUIRE(open_error(f.path).code == errc::bad_answer);
    REQUIRE(open_error(f.path).message.find("schema 2 is newer") !=
            std::string::npos);
  }
  SECTION("another program's") {
    run_sql(f.path, "CREATE TABLE t (x)");
    REQUIRE(open_error(f.path).code == errc::bad_answer);
  }
  SECTION("a folder that is not there") {
    const auto path = f.dir.file("no/such/zedcup.db");
    REQUIRE(open_error(path).code == errc::denied);
    REQUIRE(open_error(path).message.find("No such file") != std::string::npos);
  }
  SECTION("a folder") {
    REQUIRE(open_error(f.dir.path()).code == errc::denied);
  }
  SECTION("no path") {
    REQUIRE(open_error("").code == errc::invalid_argument);
  }
}

TEST_CASE("embedded: a damaged file is an error, wherever the damage is",
          "[embedded]") {
  fixture f;
  {
    auto store = f.open();
    for (int i = 0; i < 50; ++i)
      must(store.commit(
          {op(verb::set, "key" + std::to_string(i), std::string(500, 'v'))}));
  }
  std::ifstream in(f.path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  std::mt19937 random(7); // NOLINT: the same damage every time
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    auto bad = good;
    const size_t at = random() % bad.size();
    for (size_t i = at; i < std::min(at + 600, bad.size()); ++i)
      bad[i] = static_cast<char>(random());
    if (round % 10 == 0)
      bad.resize(at);
    std::filesystem::remove(f.path + "-wal");
    std::filesystem::remove(f.path + "-shm");
    std::ofstream(f.path, std::ios::binary | std::ios::trunc) << bad;
    auto opened = embedded_store::open(f.path);
    if (!opened) {
      REQUIRE_FALSE(opened.error().message.empty());
      ++refused;
      continue;
    }
    (void)opened->read_tree("");
    (void)opened->commit({op(verb::set, "key1", "x")});
    (void)opened->expire_sessions();
  }
  REQUIRE(refused > 20);
}

TEST_CASE("embedded: a full disk is an error and loses nothing", "[embedded]") {
  fixture f;
  must(f.open().commit({op(verb::set, "a", "old")}));
  REQUIRE(in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    auto store = embedded_store::open(f.path);
    const rlimit limit{200 * 1024, 200 * 1024};
    if (!store || setrlimit(RLIMIT_FSIZE, &limit) != 0)
      return false;
    const auto made =
        store->commit({op(verb::set, "b", std::string(1 << 20, 'x'))});
    const auto tree = store->read_tree("");
    return !made && made.error().code == errc::unavailable && tree &&
           tree->entries.size() == 1;
  }));
  auto store = f.open();
  REQUIRE(keys(store) == std::vector<std::string>{"a"});
}

TEST_CASE("embedded: a lock held too long by another process is unavailable",
          "[embedded]") {
  fixture f;
  embedded_options impatient;
  impatient.busy_timeout = 50ms;
  auto store = embedded_store::open(f.path, impatient);
  REQUIRE(store);
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(f.path.c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) ==
          SQLITE_OK);
  REQUIRE(code_of(store->commit({op(verb::set, "a")})) == errc::unavailable);
  REQUIRE(store->read_tree(""));
  sqlite3_close(other);
  must(store->commit({op(verb::set, "a")}));
}
