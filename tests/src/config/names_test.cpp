#include "config/decode.hpp"
#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("names: instance names are printable ASCII without a slash",
          "[config]") {
  for (const char* name : {"a", "my instance", "a.b:c|d", "1", "..."})
    CHECK(check_instance_name(name).empty());
  for (const std::string name :
       {"", "_a", "a/b", "a\n", "\xc3\xa9", ".", "..", "a\x7f"})
    CHECK_FALSE(check_instance_name(name).empty());
  CHECK(check_instance_name(std::string(128, 'a')).empty());
  CHECK_FALSE(check_instance_name(std::string(129, 'a')).empty());
}

TEST_CASE("names: lua_path writes a path as Lua does", "[config]") {
  CHECK(lua_path("pools/1/hosts/2/port") == "pools[1].hosts[2].port");
  CHECK(lua_path("healthcheck/headers/User-Agent") ==
        R"(healthcheck.headers["User-Agent"])");
  CHECK(lua_path("1/a").substr(0, 5) == "[1].a");
  CHECK(lua_path(R"(a/b"\c)") == R"(a["b\"\\c"])");
  CHECK(lua_path("").empty());
}
