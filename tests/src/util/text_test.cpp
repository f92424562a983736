#include "util/text.hpp"

#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("text: knows well-formed UTF-8", "[util]") {
  for (const char* text : {"", "a", "\xc3\xa9", "\xe2\x82\xac",
                           "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(is_utf8(text));
  for (const char* text :
       {"\x80", "\xc3", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    CHECK_FALSE(is_utf8(text));
    CHECK(is_utf8(to_utf8(text)));
  }
}

TEST_CASE("text: to_utf8 replaces only the bytes that do not fit", "[util]") {
  CHECK(to_utf8("a\xff\xc3\xa9") == "a\xef\xbf\xbd\xc3\xa9");
}

TEST_CASE("text: quoted values are printable and cut at 64 bytes", "[util]") {
  CHECK(quoted("abc") == "\"abc\"");
  CHECK(quoted("a\n\x1b[0m\xff") == R"("a\x0a\x1b[0m\xff")");
  CHECK(quoted(std::string(64, 'a')) == "\"" + std::string(64, 'a') + "\"");
  CHECK(quoted(std::string(65, 'a')) == "\"" + std::string(64, 'a') + "\"...");
}
