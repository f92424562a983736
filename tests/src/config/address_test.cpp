#include "config/address.hpp"

#include "support/catch.hpp"

using namespace zedcup;

TEST_CASE("address: keeps IPv4 addresses and host names as they are",
          "[config]") {
  for (const char* text :
       {"10.0.0.1", "255.255.255.255", "localhost", "web01.example.com",
        "_srv.my_host", "a-b", "example.com.", "1a", "3com.com", "A"})
    CHECK(normalise_address(text) == text);
}

TEST_CASE("address: gives IPv6 one spelling, in brackets", "[config]") {
  CHECK(normalise_address("::1") == "[::1]");
  CHECK(normalise_address("[::1]") == "[::1]");
  CHECK(normalise_address("2001:DB8:0:0::1") == "[2001:db8::1]");
  CHECK(normalise_address("::ffff:10.0.0.1") == "[::ffff:10.0.0.1]");
}

TEST_CASE("address: takes a unix socket by its absolute path", "[config]") {
  CHECK(normalise_address("unix:/run/a b.sock") == "unix:/run/a b.sock");
  CHECK(normalise_address("unix:/" + std::string(106, 'a')));
  CHECK_FALSE(normalise_address("unix:/" + std::string(107, 'a')));
  CHECK_FALSE(normalise_address("unix:run/a.sock"));
  CHECK_FALSE(normalise_address("unix:"));
  CHECK_FALSE(normalise_address("unix:/"));
  CHECK_FALSE(normalise_address("unix:/a\nb"));
}

TEST_CASE("address: refuses what is none", "[config]") {
  for (const char* text : {"",
                           " ",
                           ".",
                           "..",
                           "a..b",
                           ".a",
                           "-a",
                           "a-",
                           "a b",
                           "a\n",
                           "10.0.0.1 ",
                           "10.0.0.256",
                           "1.2.3",
                           "123",
                           "0x7f.1.1.1.1",
                           "010.0.0.1",
                           "a/b",
                           "http://a",
                           "a:80",
                           "10.0.0.1:80",
                           "[::1]:80",
                           "[10.0.0.1]",
                           "[a]",
                           "[::1",
                           "::1]",
                           "fe80::1%eth0",
                           ":::",
                           "a\xc3\xa9",
                           "a.123"}) {
    INFO(text);
    CHECK_FALSE(normalise_address(text));
  }
  CHECK_FALSE(normalise_address(std::string_view{"a\0b", 3}));
  CHECK_FALSE(normalise_address(std::string_view{"::1\0", 4}));
  CHECK_FALSE(normalise_address(std::string(64, 'a')));
}

TEST_CASE("address: a host name has at most 253 bytes", "[config]") {
  std::string name;
  while (name.size() < 252)
    name += "a.";
  name += "a";
  REQUIRE(name.size() == 253);
  CHECK(normalise_address(name));
  CHECK(normalise_address(name + "."));
  CHECK_FALSE(normalise_address(name + "b."));
  CHECK_FALSE(normalise_address(name + "bc"));
}
