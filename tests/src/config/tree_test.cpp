#include "config/tree.hpp"

#include <random>

#include "support/catch.hpp"

using namespace zedcup;

namespace {

std::string deep_path(size_t segments) {
  std::string path = "s";
  for (size_t i = 1; i < segments; ++i)
    path += "/s";
  return path;
}

} // namespace

TEST_CASE("tree: orders numeric segments by number before all others",
          "[config]") {
  tree root;
  for (const char* key : {"b", "10", "2", "a", "01", "1"})
    root.insert(key, "x");
  std::string order;
  for (const auto& [segment, child] : root.children)
    order += segment + " ";
  CHECK(order == "1 2 10 01 a b ");
}

TEST_CASE("tree: a numeric segment is a positive 32-bit index", "[config]") {
  CHECK(numeric_segment("1") == 1);
  CHECK(numeric_segment("4294967295") == 4294967295U);
  for (const char* text : {"", "0", "01", "-1", "+1", "1 ", "1a", "4294967296"})
    CHECK_FALSE(numeric_segment(text));
}

TEST_CASE("tree: insert makes the tables on the way", "[config]") {
  tree root;
  root.insert("pools/1/name", "primary", 7);
  REQUIRE(root.find("pools") != nullptr);
  const tree& pool = *root.find("pools")->find("1");
  CHECK(pool.find("name")->text == "primary");
  CHECK(pool.find("name")->flags == 7);
  CHECK(pool.find("name")->is_leaf());
  CHECK(pool.find("port") == nullptr);
}

TEST_CASE("tree: insert ignores empty segments", "[config]") {
  tree root;
  root.insert("/a//b/", "x");
  CHECK(root.find("a")->find("b")->text == "x");
}

TEST_CASE("tree: a folder key only makes the table", "[config]") {
  tree root;
  root.insert("a/", "");
  root.insert("", "");
  REQUIRE(root.find("a") != nullptr);
  CHECK(root.find("a")->empty());
  CHECK_FALSE(root.text);
}

TEST_CASE("tree: a key may have a value and keys below it", "[config]") {
  tree root;
  root.insert("a", "x");
  root.insert("a/b", "y");
  CHECK(root.find("a")->text == "x");
  CHECK_FALSE(root.find("a")->is_leaf());
  CHECK(root.flatten().size() == 2);
}

TEST_CASE("tree: a path beyond the depth limit keeps its rest in one segment",
          "[config]") {
  const std::string path = deep_path(500'000);
  tree root;
  root.insert(path, "x");
  size_t depth = 0;
  const tree* node = &root;
  for (; !node->children.empty(); ++depth)
    node = &node->children.begin()->second;
  CHECK(depth == max_tree_depth);
  const auto flat = root.flatten();
  REQUIRE(flat.size() == 1);
  CHECK(flat[0].first == path);
  tree copy;
  copy.insert(flat[0].first, flat[0].second);
  CHECK(copy == root);
}

TEST_CASE("tree: flatten is the inverse of insert", "[config]") {
  std::mt19937 random{20};
  const std::string alphabet = "ab1239/";
  for (int round = 0; round < 2000; ++round) {
    tree root;
    for (int i = 0; i < 12; ++i) {
      std::string path;
      for (auto n = random() % 10; n > 0; --n)
        path += alphabet[random() % alphabet.size()];
      root.insert("k" + path, std::to_string(random() % 3));
    }
    tree copy;
    for (const auto& [path, text] : root.flatten())
      copy.insert(path, text);
    REQUIRE(copy == root);
  }
}
