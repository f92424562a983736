// The table of when hosts began to serve, over plain memory.
#include <vector>

#include "nginx/ngx_http_zedcup.h"
#include "support/catch.hpp"

namespace {

struct table {
  explicit table(size_t zone_size)
      : memory(ngx_http_zedcup_starts_size(zone_size) / 8 + 1) {
    ngx_http_zedcup_starts_init(get(), zone_size);
  }
  ngx_http_zedcup_starts_t* get() {
    return reinterpret_cast<ngx_http_zedcup_starts_t*>(memory.data());
  }
  uint64_t stays(uint64_t id) {
    return ngx_http_zedcup_starts_note(get(), id, NGX_HTTP_ZEDCUP_START_STAYS,
                                       99);
  }
  uint64_t comes(uint64_t id, uint64_t now) {
    return ngx_http_zedcup_starts_note(get(), id, NGX_HTTP_ZEDCUP_START_COMES,
                                       now);
  }
  uint64_t goes(uint64_t id) {
    return ngx_http_zedcup_starts_note(get(), id, NGX_HTTP_ZEDCUP_START_GOES,
                                       99);
  }

  std::vector<uint64_t> memory;
};

} // namespace

TEST_CASE("starts: who comes first says when, until it goes", "[starts]") {
  table all(1 << 20);
  CHECK(all.stays(7) == 0);
  CHECK(all.comes(7, 100) == 100);
  CHECK(all.comes(7, 103) == 100); // another worker
  CHECK(all.stays(7) == 100);
  CHECK(all.goes(7) == 0);
  CHECK(all.goes(7) == 0);
  CHECK(all.stays(7) == 0);
  CHECK(all.comes(7, 200) == 200);
  CHECK(all.comes(8, 0) == 1); // 0 would be "for long"
}

TEST_CASE("starts: a full table forgets who began first", "[starts]") {
  table all(64 * 1024);
  // 2 KiB of entries: 128 in 16 buckets
  for (uint64_t id = 1; id <= 1000; ++id)
    CHECK(all.comes(id, 1000 + id) == 1000 + id);
  CHECK(all.stays(1000) == 2000);
  CHECK(all.stays(1) == 0);
}

TEST_CASE("starts: a zone without a table counts from now on", "[starts]") {
  table none(1024);
  CHECK(none.comes(1, 50) == 50);
  CHECK(none.stays(1) == 0);
  CHECK(none.goes(1) == 0);
}
