// The node's table of errors: counts within a window, marks, and its bounds.
#include "nginx/ngx_http_zedcup.h"

#include <vector>

#include "support/catch.hpp"

namespace {

using seen_hosts = std::vector<ngx_http_zedcup_host_errors_t>;

extern "C" void see(void* ctx, const ngx_http_zedcup_host_errors_t* host) {
  static_cast<seen_hosts*>(ctx)->push_back(*host);
}

class table {
public:
  explicit table(size_t zone_size = 64 * 1024)
      : memory_(ngx_http_zedcup_errors_size(zone_size) / 8 + 1) {
    ngx_http_zedcup_errors_init(get(), zone_size);
  }

  ngx_http_zedcup_errors_t* get() {
    return reinterpret_cast<ngx_http_zedcup_errors_t*>(memory_.data());
  }

  /// Whether it marked the host.
  bool add(uint64_t id, uint64_t now, uint32_t n = 1, uint32_t max = 3) {
    const ngx_http_zedcup_host_id_t name{id, ~id};
    return ngx_http_zedcup_errors_add(get(), &name, n, 1000, max, now,
                                      &count) != 0;
  }
  seen_hosts marked() {
    seen_hosts all;
    ngx_http_zedcup_errors_marked(get(), see, &all);
    return all;
  }
  seen_hosts expire(uint64_t now) {
    seen_hosts all;
    ngx_http_zedcup_errors_expire(get(), now, see, &all);
    return all;
  }
  bool drop(uint64_t id) {
    const ngx_http_zedcup_host_id_t name{id, ~id};
    return ngx_http_zedcup_errors_drop(get(), &name) != 0;
  }
  uint64_t version() { return ngx_http_zedcup_errors_version(get()); }
  uint64_t next_end() { return ngx_http_zedcup_errors_next_end(get()); }

  uint32_t count = 0;

private:
  std::vector<uint64_t> memory_;
};

} // namespace

TEST_CASE("errors: the one that reaches max sets the mark, once", "[errors]") {
  table errors;
  const auto before = errors.version();
  CHECK_FALSE(errors.add(1, 5000));
  CHECK_FALSE(errors.add(1, 5001));
  CHECK(errors.version() == before);
  CHECK(errors.add(1, 5002));
  CHECK(errors.count == 3);
  CHECK(errors.version() != before);
  CHECK_FALSE(errors.add(1, 5003));
  REQUIRE(errors.marked().size() == 1);
  CHECK(errors.marked()[0].id.a == 1);
  CHECK(errors.next_end() == 6002);
}

TEST_CASE("errors: the count starts anew after the window", "[errors]") {
  table errors;
  errors.add(1, 5000, 2);
  CHECK_FALSE(errors.add(1, 6001));
  CHECK(errors.count == 1);
  CHECK_FALSE(errors.add(1, 7001)); // exactly a window later still counts
  CHECK(errors.count == 2);
}

TEST_CASE("errors: another worker's clock may be ahead", "[errors]") {
  table errors;
  errors.add(1, 5000, 2);
  CHECK(errors.add(1, 4990));
  CHECK(errors.marked()[0].last == 5000);
}

TEST_CASE("errors: with max 0 they are counted only", "[errors]") {
  table errors;
  CHECK_FALSE(errors.add(1, 5000, 4000000000U, 0));
  CHECK_FALSE(errors.add(1, 5000, 4000000000U, 0));
  CHECK(errors.count == UINT32_MAX);
}

TEST_CASE("errors: a mark ends a window after the last error", "[errors]") {
  table errors;
  errors.add(1, 5000, 3);
  errors.add(2, 5500, 3);
  errors.add(1, 5900); // a request that was under way
  CHECK(errors.expire(6400).empty());
  REQUIRE(errors.expire(6500).size() == 1);
  CHECK(errors.marked().size() == 1);
  CHECK(errors.next_end() == 6900);
  CHECK(errors.expire(7000).size() == 1);
  CHECK(errors.next_end() == 0);
  CHECK_FALSE(errors.add(1, 7001));
  CHECK(errors.count == 1);
}

TEST_CASE("errors: a host is forgotten with its mark", "[errors]") {
  table errors;
  CHECK_FALSE(errors.drop(1));
  errors.add(1, 5000);
  CHECK_FALSE(errors.drop(1));
  errors.add(1, 5000, 3);
  const auto before = errors.version();
  CHECK(errors.drop(1));
  CHECK(errors.version() != before);
  CHECK(errors.marked().empty());
}

TEST_CASE("errors: a full table forgets old errors, never a mark", "[errors]") {
  table errors;
  for (uint64_t id = 1; id <= 20; ++id)
    errors.add(id, 5000, 3);
  for (uint64_t id = 1000; id < 20000; ++id)
    errors.add(id, 5000 + id);
  CHECK(errors.marked().size() == 20);
  errors.add(19999, 25000);
  CHECK(errors.count == 2);
  errors.add(1000, 25000);
  CHECK(errors.count == 1);
}

TEST_CASE("errors: where all are marked there is no room, and no harm",
          "[errors]") {
  table errors;
  for (uint64_t id = 1; id < 10000; ++id)
    errors.add(id, 5000, 3);
  const auto before = errors.marked().size();
  CHECK(before > 8);
  CHECK_FALSE(errors.add(20000, 5000, 3));
  CHECK(errors.count == 0);
  CHECK(errors.marked().size() == before);
}

TEST_CASE("errors: the table of the smallest zone takes a sixteenth of it",
          "[errors]") {
  CHECK(ngx_http_zedcup_errors_size(64 * 1024) <= 4096 + 64);
  CHECK(ngx_http_zedcup_errors_size(size_t{1} << 30) <= (1 << 20) + 64);
}
