#include "util/body_pattern.hpp"

#include <chrono>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

bool matches(const std::string& spec, const std::string& body) {
  const auto pattern = body_pattern::compile(spec);
  REQUIRE(pattern);
  return static_cast<bool>(pattern->match(body));
}

} // namespace

TEST_CASE("body_pattern: a text must occur as it is", "[health]") {
  CHECK(matches("a.c", "xa.cx"));
  CHECK_FALSE(matches("a.c", "abc"));
  CHECK(matches("", ""));
}

TEST_CASE("body_pattern: ~ begins a regular expression", "[health]") {
  CHECK(matches("~a.c$", "xxabc"));
  CHECK_FALSE(matches("~^a.c", "xxabc"));
  CHECK(matches("~", ""));
}

TEST_CASE("body_pattern: a bad expression is refused in words", "[health]") {
  const auto pattern = body_pattern::compile("~a(");
  REQUIRE_FALSE(pattern);
  CHECK(pattern.error().message == "missing closing parenthesis at offset 2");
}

TEST_CASE("body_pattern: a hostile body costs a bounded time", "[health]") {
  const auto pattern = body_pattern::compile("~^(a+)+$");
  REQUIRE(pattern);
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = pattern->match(std::string(65535, 'a') + "!");
  const auto took = std::chrono::steady_clock::now() - begin;
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == errc::too_large);
  CHECK(took < std::chrono::seconds{2}); // milliseconds, without sanitizers
}
