#include "util/base64.hpp"

#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("base64: RFC 4648's vectors both ways", "[util]") {
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    REQUIRE(base64_encode(bytes) == text);
    REQUIRE(base64_decode(text) == bytes);
  }
  std::string all;
  for (int c = 255; c >= 0; --c)
    all += static_cast<char>(c);
  REQUIRE(base64_decode(base64_encode(all)) == all);
}

TEST_CASE("base64: anything but canonical text is refused", "[util]") {
  for (const char* bad : {"Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm9v=",
                          "Zm 9", "Zm9v\n", "Zg==Zg==", "Zm-_"})
    REQUIRE_FALSE(base64_decode(bad));
}
