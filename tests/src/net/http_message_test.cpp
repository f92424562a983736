#include "net/http_message.hpp"

#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("http_message: header names ignore case, the first one counts",
          "[net]") {
  http_response answer;
  answer.headers = {{"X-Consul-Index", "7"}, {"x-consul-index", "8"}};
  REQUIRE(answer.header("x-CONSUL-index") == "7");
  REQUIRE_FALSE(answer.header("x-consul"));
}

TEST_CASE("http_message: percent_encode keeps only unreserved bytes", "[net]") {
  REQUIRE(percent_encode("a/b c%?&#\xc3\xa9~", true) ==
          "a/b%20c%25%3F%26%23%C3%A9~");
  REQUIRE(percent_encode("a/b", false) == "a%2Fb");
  REQUIRE(percent_encode(std::string_view("\0", 1), true) == "%00");
}

TEST_CASE("http_message: an IPv6 authority has brackets", "[net]") {
  http_endpoint endpoint;
  endpoint.host = "::1";
  endpoint.port = 8500;
  REQUIRE(endpoint.authority() == "[::1]:8500");
}
