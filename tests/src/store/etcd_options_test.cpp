#include "store/etcd_options.hpp"

#include "support/catch.hpp"

using namespace zedcup;
using namespace std::chrono_literals;

namespace {

std::string complaint(std::string_view json) {
  auto parsed = parse_etcd_options(json);
  return parsed ? "" : parsed.error().message;
}

} // namespace

TEST_CASE("etcd options: defaults", "[etcd]") {
  for (const char* text : {"", "{}", "[]"}) {
    const auto options = *parse_etcd_options(text);
    CHECK(options.addresses ==
          std::vector<server_address>{{"127.0.0.1", 2379}});
    CHECK(options.connect_timeout == 2s);
    CHECK_FALSE(options.ssl);
    CHECK(options.user.empty());
    CHECK(options.limits().max_ops == 63);
  }
}

TEST_CASE("etcd options: endpoints in every form", "[etcd]") {
  const auto options = *parse_etcd_options(R"({"endpoints": ["a",
    "b:2", "http://c", "http://d:4/", "[::1]:5", "::2"], "host": "x",
    "max_txn_ops": "256"})");
  CHECK(options.addresses == std::vector<server_address>{{"a", 2379},
                                                         {"b", 2},
                                                         {"c", 2379},
                                                         {"d", 4},
                                                         {"::1", 5},
                                                         {"::2", 2379}});
  CHECK(options.limits().max_ops == 127);
  const auto secure =
      *parse_etcd_options(R"({"endpoints": ["https://a"], "ca_cert": "/c"})");
  CHECK(make_endpoints(secure)[0]->tls);
  CHECK(make_endpoints(secure)[0]->ca_cert == "/c");
  const auto one = *parse_etcd_options(R"({"host": "[::1]", "port": 5})");
  CHECK(one.addresses == std::vector<server_address>{{"::1", 5}});
}

TEST_CASE("etcd options: a bad one is named", "[etcd]") {
  CHECK(complaint(R"({"port": "abc"})") ==
        R"(etcd.port: expected 1..65535, got "abc")");
  CHECK(complaint(R"({"endpoints": ["a", "b:0"]})") ==
        R"(etcd.endpoints[2]: expected "host:port", got "b:0")");
  CHECK(complaint(R"({"endpoints": []})").find("etcd.endpoints") == 0);
  CHECK(complaint(R"({"endpoints": [1]})").find("etcd.endpoints[1]") == 0);
  CHECK(complaint(R"({"user": "u"})").find("etcd.user") == 0);
  CHECK(complaint(R"({"client_cert": "c"})").find("etcd.client_cert") == 0);
  CHECK(complaint("[1]").find("etcd: expected a table") == 0);
  CHECK(complaint("{").find("etcd: not JSON") == 0);
  CHECK(parse_etcd_options(R"({"nose": 1})")->notices ==
        std::vector<std::string>{"etcd.nose: unknown option"});
}
