#include "peers/service.hpp"

#include "support/catch.hpp"

using namespace zedcup;

namespace {

using texts = std::vector<std::string>;

struct decoded {
  result<peer> one;
  texts said;
};

decoded decode(const std::string& address, const std::string& value) {
  std::vector<peer_complaint> complaints;
  auto one = decode_peer("/s/web/" + address, address, value, complaints);
  decoded all{std::move(one), {}};
  for (const auto& complaint : complaints) {
    CHECK(complaint.key == "/s/web/" + address);
    all.said.push_back(complaint.text);
  }
  return all;
}

peer good(const std::string& value) {
  const auto all = decode("10.0.0.1:80", value);
  REQUIRE(all.one);
  CHECK(all.said == texts{});
  return *all.one;
}

/// Whatever is wrong with a value: the peer is there, with defaults.
texts complaints(const std::string& value) {
  const auto all = decode("10.0.0.1:80", value);
  REQUIRE(all.one);
  CHECK(all.one->weight == 1);
  CHECK(all.one->up);
  CHECK(all.one->slow_start == 0);
  CHECK(all.one->check_url == "/");
  return all.said;
}

std::string refused(const std::string& address) {
  const auto all = decode(address, "");
  REQUIRE_FALSE(all.one);
  CHECK(all.one.error().code == errc::invalid_argument);
  return all.one.error().message;
}

peer up(const std::string& host, double start_at = 0) {
  peer one;
  one.host = host;
  one.port = 80;
  one.start_at = start_at;
  return one;
}

service of(std::vector<peer> peers) {
  return {"web", std::move(peers)};
}

} // namespace

TEST_CASE("peers: an empty value is all defaults", "[peers]") {
  const auto one = good("");
  CHECK(one.name() == "10.0.0.1:80");
  CHECK(one.weight == 1);
  CHECK(one.up);
  CHECK(one.slow_start == 0);
  CHECK(one.check_url == "/");
  CHECK(good("{}") == one);
}

TEST_CASE("peers: every field is read", "[peers]") {
  const auto one = good(R"({"weight": 3, "status": "down", "slow_start": 30,
                            "check_url": "/health?a=1", "other": [1]})");
  CHECK(one.weight == 3);
  CHECK_FALSE(one.up);
  CHECK(one.slow_start == 30);
  CHECK(one.check_url == "/health?a=1");
}

TEST_CASE("peers: numbers may be text or come with a point", "[peers]") {
  CHECK(good(R"({"weight": "12"})").weight == 12);
  CHECK(good(R"({"weight": 3.0, "slow_start": "0"})").weight == 3);
  CHECK(good(R"({"weight": 0})").weight == 0);
  CHECK(good(R"({"weight": 65535, "slow_start": 86400})").weight == 65535);
}

TEST_CASE("peers: both spellings of the URL, the newer before the older",
          "[peers]") {
  CHECK(good(R"({"checkurl": "/a"})").check_url == "/a");
  CHECK(good(R"({"checkurl": "/a", "check_url": "/b"})").check_url == "/b");
}

TEST_CASE("peers: fields may stand in Metadata, behind their own", "[peers]") {
  const auto one = good(R"({"weight": 2, "status": null,
               "Metadata": {"weight": 9, "status": "down", "checkurl": "/m"}})");
  CHECK(one.weight == 2);
  CHECK_FALSE(one.up);
  CHECK(one.check_url == "/m");
  CHECK(good(R"({"Metadata": null})").weight == 1);
  CHECK(complaints(R"({"Metadata": "x"})") ==
        texts{"Metadata: expected an object, got \"x\"; the default stays"});
  CHECK(complaints(R"({"Metadata": {"weight": -1}})").size() == 1);
}

TEST_CASE("peers: each bad field is its default and one complaint", "[peers]") {
  for (const auto* value :
       {"-1", "65536", "1.5", "1e300", "-0.5", "true", "[]", "{}", R"("")",
        R"("x")", R"("1 ")", R"("-1")", R"("99999999999999999999999")",
        "99999999999999999999999"}) {
    INFO(value);
    const auto said = complaints(R"({"weight": )" + std::string(value) + "}");
    REQUIRE(said.size() == 1);
    CHECK(said[0].find("weight: expected a number 0..65535, got ") == 0);
    if (std::string(value) != "65536")
      CHECK(
          complaints(R"({"slow_start": )" + std::string(value) + "}").size() ==
          1);
  }
}

TEST_CASE("peers: a status is up or down, a URL a path", "[peers]") {
  for (const auto* value : {"1", "false", R"("UP")", R"("")", "[]"})
    CHECK(complaints(R"({"status": )" + std::string(value) + "}") ==
          texts{std::string("status: expected \"up\" or \"down\", got ") +
                value + "; the default stays"});
  const auto long_url = "\"/" + std::string(3000, 'a') + "\"";
  for (const auto& value :
       {std::string("1"), std::string(R"("")"), std::string(R"("health")"),
        std::string(R"("http://x/")"), std::string(R"("/a b")"),
        std::string(R"("/a\r\nX: y")"), std::string(R"("/ü")"), long_url}) {
    CHECK(complaints(R"({"check_url": )" + value + "}").size() == 1);
    CHECK(complaints(R"({"checkurl": )" + value + "}").size() == 1);
  }
}

TEST_CASE("peers: what is no JSON object is all defaults", "[peers]") {
  CHECK(complaints("weight=3") ==
        texts{"expected a JSON object, got \"weight=3\"; the defaults stay"});
  for (const auto* value :
       {"[]", "3", "null", "{", R"({"weight": 3} x)", " ", "\xff\xfe"})
    CHECK(complaints(value).size() == 1);
}

TEST_CASE("peers: a value nested without end does no harm", "[peers]") {
  const std::string deep =
      std::string(500'000, '[') + std::string(500'000, ']');
  std::string objects;
  for (int i = 0; i < 100'000; ++i)
    objects += R"({"a":)";
  objects += "1" + std::string(100'000, '}');
  for (const auto& value : {deep, objects}) {
    CHECK(complaints(value).size() <= 1);
    CHECK(complaints(R"({"weight": )" + value + "}").size() == 1);
    CHECK(complaints(R"({"Metadata": {"status": )" + value + "}}").size() == 1);
  }
  CHECK(complaints(R"({"weight": [1,{"a":[[[[[2]]]]]}]})") ==
        texts{"weight: expected a number 0..65535, got "
              R"([1,{"a":[[[...]]]}]; the default stays)"});
}

TEST_CASE("peers: addresses are IPv4, IPv6 in brackets, or names", "[peers]") {
  const auto name_of = [](const std::string& address) {
    const auto all = decode(address, "");
    INFO(address);
    REQUIRE(all.one);
    return all.one->name();
  };
  CHECK(name_of("10.0.0.1:80") == "10.0.0.1:80");
  CHECK(name_of("[::1]:8080") == "[::1]:8080");
  CHECK(name_of("[0:0:0::1]:8080") == "[::1]:8080");
  CHECK(name_of("web-1.example:65535") == "web-1.example:65535");
}

TEST_CASE("peers: a bad address says what is wrong", "[peers]") {
  CHECK(refused("10.0.0.1") == "expected host:port, got \"10.0.0.1\"");
  CHECK(refused("10.0.0.1:99999") ==
        "expected a port 1..65535 in \"10.0.0.1:99999\"");
  for (const auto* address :
       {"a:0", "a:", "a:65536", "a:-1", "a: 80", "a:80x", "a:0x50", "[::1]",
        "a:80/b", "a:99999999999999999999"})
    CHECK_FALSE(refused(address).empty());
  for (const auto* address : {":80", "::1:80", "[::1:80", "::1]:80", "[]:80",
                              "a b:80", "[10.0.0.1]:80", "300.1.1.1:80",
                              "unix:/x:80", "a/b:80", "a\n:80", "[::g]:80"}) {
    INFO(address);
    CHECK(refused(address).find("expected an IPv4 address, [IPv6] or a host "
                                "name in ") == 0);
  }
}

TEST_CASE("peers: a service's name must fit the dictionary", "[peers]") {
  CHECK(check_service_name("web").empty());
  CHECK(check_service_name("web 1_ü.x").empty());
  for (const auto& name :
       {std::string(), std::string("a|b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("a\x7f"), std::string("_allname"),
        std::string("ready")})
    CHECK_FALSE(check_service_name(name).empty());
}

TEST_CASE("peers: who is new beside others begins now", "[peers]") {
  const auto before = of({up("a"), up("b", 50)});
  auto fresh = of({up("a"), up("b"), up("c")});
  carry_over(fresh, &before, 100);
  CHECK(fresh.peers[0].start_at == 0);
  CHECK(fresh.peers[1].start_at == 50);
  CHECK(fresh.peers[2].start_at == 100);
}

TEST_CASE("peers: in the first read nobody is new", "[peers]") {
  auto fresh = of({up("a")});
  carry_over(fresh, nullptr, 100);
  CHECK(fresh.peers[0].start_at == 0);
}

TEST_CASE("peers: who was down begins when it is up again", "[peers]") {
  auto before = of({up("a", 50)});
  auto fresh = before;
  fresh.peers[0].up = false;
  carry_over(fresh, &before, 100);
  CHECK_FALSE(fresh.peers[0].up);
  before = fresh;
  fresh.peers[0] = up("a");
  carry_over(fresh, &before, 200);
  CHECK(fresh.peers[0].start_at == 200);
}

TEST_CASE("peers: the same host on another port is another peer", "[peers]") {
  const auto before = of({up("a", 50)});
  auto fresh = of({up("a")});
  fresh.peers[0].port = 81;
  carry_over(fresh, &before, 100);
  CHECK(fresh.peers[0].start_at == 100);
}

TEST_CASE("peers: JSON both ways", "[peers]") {
  auto one = up("[::1]", 1700000000.25);
  one.weight = 7;
  one.up = false;
  one.slow_start = 30;
  one.check_url = R"(/a"b\)";
  const auto text = peers_json(of({one, up("b")}));
  const auto back = service_from_json("web", text);
  CHECK(back.name == "web");
  REQUIRE(back.peers.size() == 2);
  CHECK(back.peers[0] == one);
  CHECK(back.peers[1] == up("b"));
  CHECK(peers_json(back) == text);
  CHECK(peers_json(of({})) == "[]");
  CHECK(peers_json(of({up("a")})) ==
        R"([{"host":"a","port":80,"weight":1,"status":"up","slow_start":0,)"
        R"("start_at":0.0,"check_url":"/","checkurl":"/"}])");
}

TEST_CASE("peers: JSON of another run is not trusted", "[peers]") {
  for (const auto* text : {"", "{", "{}", "3", "null"})
    CHECK(service_from_json("web", text).peers.empty());
  const auto read = service_from_json(
      "web", R"([3, {}, {"host": "a"}, {"host": 3, "port": 80},
                 {"host": "a", "port": 0}, {"host": "a", "port": 65616},
                 {"host": "a", "port": "80"}, {"host": "", "port": 80},
                 {"host": "b", "port": 80, "weight": -4, "start_at": "x"}])");
  REQUIRE(read.peers.size() == 1);
  CHECK(read.peers[0] == up("b"));
}
