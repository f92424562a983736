// A node's marks as one worker serves them: rotations, content, events.
#include "nginx/host_marks.hpp"

#include "fake_nginx.hpp"
#include "support/catch.hpp"

using namespace zedcup;
using namespace zedcup::test;

extern "C" volatile ngx_msec_t ngx_current_msec;

namespace {

struct host_look {
  int port;
  bool up = true;
  bool by_zedcup = false;
};

std::shared_ptr<const snapshot> content(const std::vector<host_look>& hosts,
                                        bool persist = true) {
  instance_config config;
  config.name = "a";
  config.persist_errors = persist;
  pool_config pool;
  pool.index = 1;
  for (auto& look : hosts) {
    host_config host;
    host.index = static_cast<uint32_t>(pool.hosts.size() + 1);
    host.address = "10.0.0.1";
    host.port = static_cast<uint16_t>(look.port);
    host.up = look.up;
    host.down_by_zedcup = look.by_zedcup;
    pool.hosts.push_back(host);
  }
  config.pools.push_back(pool);
  return snapshot::make(std::move(config), 1);
}

/// One worker; several share the table.
class worker {
public:
  worker()
      : marks(instances, 1, [this](unsigned scopes, const host_event& event) {
          told.push_back(std::string(event.up ? "up " : "down ") +
                         std::to_string(event.host.port) + " " +
                         std::to_string(scopes));
        }) {
    instances.leave_out([this](const std::string& name, const pool_config& pool,
                               const host_config& host) {
      return marks.is_marked(name, pool, host);
    });
  }

  void serve(std::shared_ptr<const snapshot> next, bool leads = false) {
    auto old = instances.share("a");
    instances.put("a", next, 0);
    marks.content_changed(old.get(), next.get(), leads);
  }
  void look(bool release = true) {
    marks.fetch();
    marks.apply(release);
  }
  bool fail(uint32_t place, int times = 1) {
    auto* handle = instances.acquire("a");
    bool marked = false;
    for (int i = 0; i < times; ++i) {
      auto verdict = marks.failed(*handle, 0, place, "refused");
      marked = marked || (verdict && verdict->marked);
    }
    registry::release(handle);
    return marked;
  }
  /// The ports that three picks give; 0: none.
  std::vector<int> picks() {
    auto* handle = instances.acquire("a");
    std::vector<int> ports;
    for (int i = 0; i < 3; ++i) {
      auto slot = handle->balancers.at(0).pick({});
      ports.push_back(
          slot ? handle->content->config().pools[0].hosts[*slot].port : 0);
    }
    registry::release(handle);
    return ports;
  }
  std::vector<std::string> take() { return std::exchange(told, {}); }

  registry instances;
  std::vector<std::string> told;
  host_marks marks;
};

class node {
public:
  node() {
    nginx() = {};
    one.serve(content({{80}, {81}}));
    two.serve(content({{80}, {81}}));
  }
  worker one, two;
};

using ports = std::vector<int>;
using lines = std::vector<std::string>;

} // namespace

TEST_CASE_METHOD(node, "marks: a host that fails too often is out everywhere",
                 "[marks]") {
  CHECK_FALSE(one.fail(0, 2));
  CHECK(two.fail(0));
  CHECK(nginx().rings == 1);
  CHECK(two.picks() == ports{81, 81, 81});
  one.look();
  CHECK(one.picks() == ports{81, 81, 81});
  CHECK(nginx().log.size() == 1);
  CHECK(one.take().empty()); // the store's commit is what is told
}

TEST_CASE_METHOD(node, "marks: with all hosts out there is none", "[marks]") {
  one.fail(0, 3);
  one.fail(1, 3);
  CHECK(one.picks() == ports{0, 0, 0});
}

TEST_CASE_METHOD(node, "marks: errors of a host that is down count nothing",
                 "[marks]") {
  one.serve(content({{80, false, true}, {81}}));
  CHECK_FALSE(one.fail(0, 10));
}

TEST_CASE_METHOD(node, "marks: the configuration rules once it shows the host",
                 "[marks]") {
  one.fail(0, 3);
  two.look();
  const auto down = content({{80, false, true}, {81}});
  one.serve(down, true);
  CHECK(one.take() == lines{"down 80 6"}); // for node and worker
  // two has heard of the mark's end before the content that took it over
  two.look(false);
  CHECK(two.picks() == ports{81, 81, 81});
  two.serve(down);
  two.look();
  CHECK(two.picks() == ports{81, 81, 81});
  CHECK(two.take() == lines{"down 80 4"});
  one.serve(content({{80}, {81}}), true);
  two.serve(content({{80}, {81}}));
  CHECK(one.take() == lines{"up 80 6"});
  CHECK(two.take() == lines{"up 80 4"});
  CHECK(one.picks() != ports{81, 81, 81});
  CHECK(two.picks() != ports{81, 81, 81});
  CHECK_FALSE(one.fail(0, 2)); // it starts without errors
}

TEST_CASE_METHOD(node, "marks: an operator's down and up are nobody's event",
                 "[marks]") {
  one.serve(content({{80, false}, {81}}), true);
  one.serve(content({{80}, {81}}), true);
  CHECK(one.take().empty());
}

TEST_CASE_METHOD(node, "marks: another server at the place starts without",
                 "[marks]") {
  one.fail(0, 3);
  one.serve(content({{90}, {81}}), true);
  one.look();
  CHECK(one.picks() != ports{81, 81, 81});
  one.serve(content({{80}, {81}}), true);
  CHECK(one.picks() != ports{81, 81, 81});
}

TEST_CASE_METHOD(node, "marks: end a window after the last error, untold",
                 "[marks]") {
  one.fail(0, 3);
  ngx_current_msec = ngx_current_msec + 59000;
  one.marks.expire();
  one.look();
  CHECK(one.picks() == ports{81, 81, 81});
  ngx_current_msec = ngx_current_msec + 2000;
  one.marks.expire();
  two.marks.expire();
  one.look();
  CHECK(one.picks() != ports{81, 81, 81});
  CHECK(one.take().empty());
}

TEST_CASE_METHOD(node, "marks: what the store did not take is told here",
                 "[marks]") {
  one.fail(0, 3);
  host_errors errors;
  errors.host = {"a", 1, 1, "10.0.0.1", 80};
  errors.err = "refused";
  one.marks.kept(errors);
  one.marks.kept(errors);
  two.look();
  CHECK(one.take() == lines{"down 80 3", "down 80 4"});
  CHECK(two.take() == lines{"down 80 4"});
  ngx_current_msec = ngx_current_msec + 61000;
  two.marks.expire();
  one.marks.expire();
  one.look();
  two.look();
  CHECK(two.take() == lines{"up 80 3", "up 80 4"});
  CHECK(one.take() == lines{"up 80 4"});
}

TEST_CASE_METHOD(node, "marks: a probe's errors count here without a store",
                 "[marks]") {
  one.serve(content({{80}, {81}}, false));
  host_errors errors;
  errors.host = {"a", 1, 1, "10.0.0.1", 80};
  errors.count = 3;
  errors.by_probe = true;
  one.marks.kept(errors);
  CHECK(one.take() == lines{"down 80 3", "down 80 4"});
  CHECK(one.picks() == ports{81, 81, 81});
}

TEST_CASE_METHOD(node,
                 "marks: a probe's errors count as long as the probe says",
                 "[marks]") {
  one.serve(content({{80}, {81}}, false));
  host_errors errors;
  errors.host = {"a", 1, 1, "10.0.0.1", 80};
  errors.count = 1;
  errors.by_probe = true;
  errors.window = std::chrono::seconds{400}; // it comes every 100 seconds
  for (int i = 0; i < 3; ++i) {
    one.marks.kept(errors);
    ngx_current_msec = ngx_current_msec + 100000;
  }
  CHECK(one.take() == lines{"down 80 3", "down 80 4"});
  one.marks.expire(); // before the next one would tell
  one.look();
  CHECK(one.picks() == ports{81, 81, 81});
}

TEST_CASE_METHOD(node, "marks: with persist_errors = false all stays here",
                 "[marks]") {
  one.serve(content({{80}, {81}}, false));
  CHECK(one.fail(0, 3));
  CHECK(one.take() == lines{"down 80 3", "down 80 4"});
  host_order order;
  order.host = {"a", 1, 1, "10.0.0.1", 80};
  std::string payload;
  order.what = host_order::verb::bring_up;
  CHECK(one.marks.order(order, payload).empty());
  CHECK(one.take() == lines{"up 80 3", "up 80 4"});
  order.what = host_order::verb::take_down;
  CHECK(one.marks.order(order, payload).empty());
  CHECK(one.marks.order(order, payload).empty());
  CHECK(one.take() == lines{"down 80 3", "down 80 4"});
  CHECK(one.picks() == ports{81, 81, 81});
  order.what = host_order::verb::count_error;
  CHECK(one.marks.order(order, payload).empty());
  CHECK(payload == "1");
  order.host.port = 9;
  CHECK_FALSE(one.marks.order(order, payload).empty());
}
