#include <random>

#include "config/tree.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

tree parsed(std::string_view json) {
  auto outcome = tree_from_json(json);
  INFO(json);
  REQUIRE(outcome);
  return std::move(*outcome);
}

std::string rewritten(std::string_view json) {
  return tree_to_json(parsed(json));
}

} // namespace

TEST_CASE("tree_json: objects, lists and scalars become tables of text",
          "[config]") {
  const tree root =
      parsed(R"({"a": {"b": 1.50, "c": true}, "l": ["x", null, false]})");
  CHECK(root.find("a")->find("b")->text == "1.50");
  CHECK(root.find("a")->find("c")->text == "true");
  CHECK(root.find("l")->find("1")->text == "x");
  CHECK(root.find("l")->find("2") == nullptr);
  CHECK(root.find("l")->find("3")->text == "false");
}

TEST_CASE("tree_json: null is absent", "[config]") {
  CHECK(parsed(R"({"a": null})").empty());
  CHECK(parsed("null").empty());
}

TEST_CASE("tree_json: keys are paths as in the store", "[config]") {
  CHECK(parsed(R"({"a/b": 1})") == parsed(R"({"a": {"b": 1}})"));
  CHECK_FALSE(tree_from_json(R"({"": 1})"));
  CHECK_FALSE(tree_from_json(R"({"/": 1})"));
}

TEST_CASE("tree_json: of equal keys the last value stays and tables merge",
          "[config]") {
  CHECK(parsed(R"({"a": 1, "a": 2})") == parsed(R"({"a": 2})"));
  CHECK(parsed(R"({"a": {"x": 1}, "a": {"y": 2}})") ==
        parsed(R"({"a": {"x": 1, "y": 2}})"));
}

TEST_CASE("tree_json: only numbers that Lua prints back are written as such",
          "[config]") {
  for (const char* text :
       {"0", "80", "-3", "0.25", "-0.5", "99999999999999", "0.0001",
        "1234567.1234567", "0.00012345678901234"}) {
    INFO(text);
    CHECK(reads_as_number(text));
    CHECK(rewritten("\"" + std::string{text} + "\"") == text);
  }
  for (const char* text : {"",
                           "007",
                           "1e5",
                           "1E5",
                           "0x10",
                           " 5",
                           "5 ",
                           "+5",
                           "1.0",
                           "nan",
                           "inf",
                           "-",
                           "-0",
                           ".5",
                           "5.",
                           "1.50",
                           "-0.0",
                           "0.00001",
                           "1.2.3",
                           "--1",
                           "100000000000000",
                           "12345678.1234567",
                           "1,5",
                           "10.0.0.1"}) {
    INFO(text);
    CHECK_FALSE(reads_as_number(text));
    const std::string quoted = "\"" + std::string{text} + "\"";
    CHECK(rewritten(quoted) == quoted);
  }
}

TEST_CASE("tree_json: what reads as a number is what printf and strtod agree "
          "on",
          "[config]") {
  std::mt19937 random{21};
  const std::string alphabet = "0011239.-";
  for (int round = 0; round < 200'000; ++round) {
    std::string text;
    for (auto n = 1 + random() % 18; n > 0; --n)
      text += alphabet[random() % alphabet.size()];
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    char printed[64];
    std::snprintf(printed, sizeof printed, "%.14g", value);
    const bool agrees = *end == '\0' && text == printed && text != "-0";
    INFO(text);
    REQUIRE(reads_as_number(text) == agrees);
  }
}

TEST_CASE("tree_json: tables with the keys 1..n become arrays", "[config]") {
  CHECK(rewritten(R"({"1": "a", "2": "b"})") == R"(["a","b"])");
  CHECK(rewritten(R"({"1": "a", "3": "b"})") == R"({"1":"a","3":"b"})");
  CHECK(rewritten(R"({"2": "b"})") == R"({"2":"b"})");
  CHECK(rewritten(R"({"1": "a", "x": "b"})") == R"({"1":"a","x":"b"})");
  CHECK(rewritten("[]") == "{}");
}

TEST_CASE("tree_json: errors name the offset", "[config]") {
  const auto outcome = tree_from_json(R"({"a": nope})");
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == errc::bad_answer);
  CHECK(outcome.error().message ==
        "not usable as JSON: Invalid value at offset 7");
}

TEST_CASE("tree_json: refuses what is not one JSON value", "[config]") {
  using namespace std::string_view_literals;
  for (const auto json :
       {""sv, " "sv, "{"sv, "{}{}"sv, "[1,]"sv, "{\"a\":1,}"sv, "\"abc"sv,
        "01"sv, "nan"sv, "{}\0"sv, "{}\0x"sv, "\0{}"sv, "'a'"sv, "{a:1}"sv,
        "\xef\xbb\xbf{}"sv}) {
    INFO(json);
    CHECK_FALSE(tree_from_json(json));
  }
}

TEST_CASE("tree_json: refuses invalid UTF-8 and lone surrogates", "[config]") {
  for (const char* json : {"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"",
                           "\"\\ud800\"", "\"\\udc00\"", "{\"\xff\":1}"})
    CHECK_FALSE(tree_from_json(json));
  CHECK(parsed("\"\\ud83d\\ude00\"").text == "\xf0\x9f\x98\x80");
}

TEST_CASE("tree_json: nesting is limited", "[config]") {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + "1" + std::string(depth, ']');
  };
  CHECK(tree_from_json(nested(max_tree_depth)));
  const auto outcome = tree_from_json(nested(max_tree_depth + 1));
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().message.find("nested too deep") != std::string::npos);
  CHECK_FALSE(tree_from_json(nested(1'000'000)));
  CHECK_FALSE(tree_from_json(std::string(1'000'000, '[')));
}

TEST_CASE("tree_json: bytes that are not UTF-8 are replaced on the way out",
          "[config]") {
  tree root;
  root.insert("k\xff", "a\xc3(b\xe2\x82");
  const std::string json = tree_to_json(root);
  CHECK(json == "{\"k\xef\xbf\xbd\":\"a\xef\xbf\xbd(b\xef\xbf\xbd\xef\xbf\xbd\""
                "}");
  CHECK(tree_from_json(json));
}

TEST_CASE("tree_json: a NUL byte in a value survives", "[config]") {
  tree root;
  root.insert("k", std::string_view{"a\0b", 3});
  CHECK(parsed(tree_to_json(root)) == root);
}

TEST_CASE("tree_json: large values and many keys pass", "[config]") {
  tree root;
  root.insert("big", std::string(1 << 20, 'x'));
  for (int i = 1; i <= 50'000; ++i)
    root.insert("keys/" + std::to_string(i), "v");
  CHECK(parsed(tree_to_json(root)) == root);
}

TEST_CASE("tree_json: no mutation of a document crashes the parser",
          "[config]") {
  std::mt19937 random{22};
  const std::string seed =
      R"({"pools":[{"_idx":1,"name":"a\u00e9","timeout":2000,"hosts":[)"
      R"({"host":"10.0.0.1","port":80,"up":false,"x":[1.5e3,null,"\"\\"]}]}]})";
  for (int round = 0; round < 30'000; ++round) {
    std::string json = seed;
    for (auto n = 1 + random() % 6; n > 0; --n) {
      const size_t at = random() % json.size();
      switch (random() % 3) {
      case 0:
        json[at] = static_cast<char>(random());
        break;
      case 1:
        json.erase(at, random() % 5);
        break;
      default:
        json.insert(at, json.substr(random() % json.size(), random() % 9));
      }
      json += ' ';
    }
    const auto outcome = tree_from_json(json);
    if (!outcome)
      continue;
    const std::string written = tree_to_json(*outcome);
    REQUIRE(tree_from_json(written));
  }
}
