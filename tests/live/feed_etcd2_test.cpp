// A feed on etcd's v2 keys API, against real servers.
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "store/etcd2_protocol.hpp"
#include "support/catch.hpp"
#include "support/etcd_server.hpp"
#include "support/http_client.hpp"
#include "support/live_feed.hpp"

using namespace zedcup;
using namespace zedcup::test;
using namespace std::chrono_literals;

namespace {

const std::string path = "/v1/services/";
using steady = std::chrono::steady_clock;

/// Writes by the v2 API, to one member.
class writer {
public:
  explicit writer(etcd_options options, size_t member = 0)
      : to_(etcd2::make_targets(options).at(member)) {}

  pending_answer begin(http_method method, const std::string& what,
                       std::string body = "") {
    http_request request;
    request.endpoint = to_;
    request.method = method;
    request.target = "/v2/" + what;
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    request.body = std::move(body);
    return send(*driver_, std::move(request));
  }
  void call(http_method method, const std::string& what,
            std::string body = "") {
    finish(begin(method, what, std::move(body)));
  }
  pending_answer begin_put(const std::string& key, const std::string& value) {
    return begin(http_method::put, "keys" + path + key,
                 "value=" + percent_encode(value, false));
  }
  void put(const std::string& key, const std::string& value = "") {
    finish(begin_put(key, value));
  }
  void remove(const std::string& key, const std::string& how = "") {
    call(http_method::del, "keys" + path + key + how);
  }
  static void finish(pending_answer answer) {
    const auto got = answer.get();
    if (!got)
      throw std::runtime_error(got.error().message);
    if (got->status >= 300)
      throw std::runtime_error(std::to_string(got->status) + got->body);
  }
  http_response fetched(const http_request& what) {
    return *fetch(*driver_, what);
  }
  const etcd2::target& target() const { return to_; }

private:
  etcd2::target to_;
  std::unique_ptr<http_driver> driver_ = start_driver();
};

std::vector<std::string> with_v2() {
  return {"--enable-v2=true"};
}

system_options at(const etcd_cluster& server) {
  system_options options;
  options.path = path;
  auto store = server.options();
  store.v2 = true;
  options.store = store;
  options.log_level = 8;
  return options;
}

std::string weight(int value) {
  return R"({"weight": )" + std::to_string(value) + "}";
}

long ms_since(steady::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(steady::now() -
                                                               begin)
      .count();
}

} // namespace

TEST_CASE("feed live, etcd v2: peers come, change and go", "[live][etcd2]") {
  etcd_cluster server(1, with_v2());
  writer w(server.options());
  feeding f(at(server));
  REQUIRE(f.wait_until([&] { return f.syncs > 0; })); // nothing there, twice
  CHECK(f.trouble.empty());
  w.put("web/10.0.0.1:80");
  CHECK(f.has("web", "10.0.0.1:80"));
  w.put("web/10.0.0.1:80", weight(7));
  CHECK(f.has("web", "10.0.0.1:80", 7));
  w.put("web/[::1]:80", weight(2));
  w.put("web-1/10.0.0.2:80");
  CHECK(f.has("web", "[::1]:80", 2));
  CHECK(f.has("web-1", "10.0.0.2:80"));
  w.remove("web/[::1]:80");
  CHECK(f.gone("web", "[::1]:80"));
  w.put("web/10.0.0.3:80",
        R"({"weight": 3, "note": ")" + std::string(100'000, 'n') + "\"}");
  CHECK(f.has("web", "10.0.0.3:80", 3));
  w.call(http_method::put, "keys" + path + "web/10.0.0.4:80", "value=&ttl=1");
  CHECK(f.has("web", "10.0.0.4:80"));
  CHECK(f.gone("web", "10.0.0.4:80"));
  w.remove("web-1", "?recursive=true");
  CHECK(f.wait_until([&] { return f.services.count("web-1") == 0; }));
  w.remove("", "?recursive=true");
  CHECK(f.wait_until([&] { return f.services.empty(); }));
  CHECK(f.trouble.empty());
}

TEST_CASE("feed live, etcd v2: a thousand keys written anew converge",
          "[live][etcd2]") {
  etcd_cluster server(1, with_v2());
  writer w(server.options());
  feeding f(at(server));
  const auto rewrite = [&](int value) {
    std::vector<pending_answer> open;
    for (int i = 0; i < 1000; ++i) {
      open.push_back(w.begin_put("s" + std::to_string(i % 10) +
                                     "/10.0.0.1:" + std::to_string(1 + i),
                                 weight(value)));
      if (open.size() == 50)
        for (; !open.empty(); open.pop_back())
          writer::finish(std::move(open.back()));
    }
  };
  const auto all_have = [&](uint32_t value) {
    size_t good = 0;
    for (const auto& [name, content] : f.services)
      for (const auto& one : content.peers)
        good += one.weight == value ? 1 : 0;
    return good == 1000;
  };
  rewrite(2);
  CHECK(f.wait_until([&] { return all_have(2); }));
  rewrite(3);
  const auto written = steady::now();
  CHECK(f.wait_until([&] { return all_have(3); }));
  CHECK(ms_since(written) < 2000);
  CHECK(f.trouble.empty());
  // Two thousand events: the server keeps the last thousand.
  const auto late = w.fetched(etcd2::wait_for_change(w.target(), path, 1, 5s));
  CHECK(*etcd2::parse_change(late) == etcd2::news::outdated);
}

TEST_CASE("feed live, etcd v2: a crash and an older past are followed",
          "[live][etcd2]") {
  etcd_cluster server(1, with_v2());
  writer w(server.options());
  feeding f(at(server));
  w.put("web/10.0.0.1:80", weight(1));
  REQUIRE(f.has("web", "10.0.0.1:80", 1));
  server.save_data(server.file("older"));
  for (int i = 2; i < 12; ++i)
    w.put("web/10.0.0.1:80", weight(i));
  CHECK(f.has("web", "10.0.0.1:80", 11));
  server.kill_now();
  CHECK(f.wait_until([&] { return !f.trouble.empty(); }));
  CHECK(f.peers("web").size() == 1); // last good
  server.put_back(server.file("older"));
  CHECK(f.has("web", "10.0.0.1:80", 1));
  CHECK(f.trouble.empty());
  w.put("web/10.0.0.1:80", weight(20));
  CHECK(f.has("web", "10.0.0.1:80", 20));
}

TEST_CASE("feed live, etcd v2: user and password", "[live][etcd2]") {
  etcd_cluster server(1, with_v2());
  writer open(server.options());
  open.put("web/10.0.0.1:80");
  open.call(http_method::put, "auth/users/root",
            R"({"user": "root", "password": "secret"})");
  open.call(http_method::put, "auth/enable");
  auto options = at(server);
  auto& etcd = std::get<etcd_options>(options.store);
  etcd.user = "root";
  etcd.password = "secret";
  writer root(etcd);
  root.call(http_method::put, "auth/roles/guest",
            R"({"role": "guest", "revoke": {"kv": {"read": ["/*"]}}})");
  feeding f(options);
  CHECK(f.has("web", "10.0.0.1:80"));
  root.put("web/10.0.0.2:80");
  CHECK(f.has("web", "10.0.0.2:80"));
  etcd.password = "wrong";
  feeding denied(options);
  CHECK(denied.wait_until([&] {
    return denied.trouble.find("requires user authentication") !=
           std::string::npos;
  }));
  CHECK(denied.syncs == 0);
}

TEST_CASE("feed live, etcd v2: a server without that API is named",
          "[live][etcd2]") {
  etcd_cluster server;
  feeding f(at(server));
  CHECK(f.wait_until(
      [&] { return f.trouble.find("--enable-v2") != std::string::npos; }));
  CHECK(f.syncs == 0);
}

TEST_CASE("feed live, etcd v2: another member takes over within two seconds",
          "[live][etcd2]") {
  etcd_cluster server(3, with_v2());
  writer w(server.options(), 1);
  feeding f(at(server));
  w.put("web/10.0.0.1:80");
  REQUIRE(f.has("web", "10.0.0.1:80"));
  server.kill_now(0); // the one that it talks to
  const auto killed = steady::now();
  REQUIRE(f.wait_until([&] { return !f.trouble.empty(); }));
  REQUIRE(f.wait_until([&] { return f.trouble.empty(); }));
  INFO(ms_since(killed) << " ms");
  CHECK(ms_since(killed) < 2000);
  // (the write itself may wait for an election)
  CHECK(f.peers("web").size() == 1);
  for (bool written = false; !written && ms_since(killed) < 15000;) {
    const auto got = w.begin_put("web/10.0.0.2:80", "").get();
    written = got && got->status < 300;
  }
  CHECK(f.has("web", "10.0.0.2:80"));
}

TEST_CASE("feed live, etcd v2: a member that hangs is left", "[live][etcd2]") {
  etcd_cluster server(3, with_v2());
  writer w(server.options(), 1);
  feeding f(at(server));
  w.put("web/10.0.0.1:80");
  REQUIRE(f.has("web", "10.0.0.1:80"));
  server.freeze(0);
  CHECK(f.wait_until([&] { return !f.trouble.empty(); })); // at the next look
  for (int i = 0; i < 5; ++i)
    if (const auto got = w.begin_put("web/10.0.0.2:80", "").get();
        got && got->status < 300)
      break;
  CHECK(f.has("web", "10.0.0.2:80"));
  CHECK(f.wait_until([&] { return f.trouble.empty(); }));
  server.thaw(0);
}
