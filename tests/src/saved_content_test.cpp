#include "saved_content.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

using texts = std::vector<std::string>;

saved_content example() {
  saved_content content;
  content.revision = 12;
  content.entries = {{"", 0, R"({"watcher_interval":5})"},
                     {"web", 12, R"({"pools":{"1":{}},"note":"a\tb\nc"})"},
                     {"n\u00e4me\twith \"all\"", 7, "{}"}};
  return content;
}

/// name, revision and content of each entry.
texts shown(const saved_content& content) {
  texts all;
  for (auto& entry : content.entries)
    all.push_back(entry.name + " " + std::to_string(entry.revision) + " " +
                  entry.json);
  return all;
}

struct outcome {
  result<saved_content> content;
  texts complaints;
};

outcome read(const std::string& text, const std::string& store = "s") {
  texts complaints;
  auto content = from_text(text, store, complaints);
  return {std::move(content), std::move(complaints)};
}

} // namespace

TEST_CASE("saved content: what is written is read", "[saved]") {
  const auto again = read(to_text(example(), "s"));
  REQUIRE(again.content);
  CHECK(again.complaints == texts{});
  CHECK(again.content->revision == 12);
  CHECK(shown(*again.content) == shown(example()));
}

TEST_CASE("saved content: a damaged line spoils no other", "[saved]") {
  auto text = to_text(example(), "s");
  text.insert(text.find("{\"pools"), "}");
  const auto again = read(text);
  REQUIRE(again.content);
  CHECK(again.complaints == texts{"line 3 is damaged"});
  CHECK(again.content->entries.size() == 2);
}

TEST_CASE("saved content: wherever it is cut off, what is whole is read",
          "[saved]") {
  const auto text = to_text(example(), "s");
  const auto head = text.find('\n');
  for (size_t size = 0; size < text.size() - 1; ++size) {
    const auto again = read(text.substr(0, size));
    INFO(size);
    if (size < head) {
      CHECK_FALSE(again.content);
      continue;
    }
    REQUIRE(again.content);
    CHECK(again.content->entries.size() < 3);
    CHECK_FALSE(again.complaints.empty());
  }
}

TEST_CASE("saved content: of another store, or no such file at all",
          "[saved]") {
  const auto other = read(to_text(example(), "theirs"), "ours");
  REQUIRE_FALSE(other.content);
  CHECK(other.content.error().message ==
        "the content of another store: theirs");
  for (const char* text : {"", "\n", "{}", "[1]\n", "garbage",
                           R"({"zedcup_content":2,"store":"s"})", "\xff\n"})
    CHECK(read(text).content.error().message == "not a file of saved content");
}

TEST_CASE("saved content: bytes that are anything never break the reader",
          "[saved]") {
  const auto text = to_text(example(), "s");
  for (size_t at = 0; at < text.size(); ++at)
    for (const char with : {'\0', '\n', '\t', '{', '"', '\xff'}) {
      auto changed = text;
      changed[at] = with;
      const auto again = read(changed);
      CHECK((!again.content || again.content->entries.size() <= 4));
    }
}

TEST_CASE("saved content: a file for each store", "[saved]") {
  CHECK(saved_path("/d", "consul a/b") == saved_path("/d", "consul a/b"));
  CHECK(saved_path("/d", "consul a/b") != saved_path("/d", "consul a/c"));
  CHECK(saved_path("/d", "x").substr(0, 11) == "/d/content.");
}

TEST_CASE("saved content: files are replaced as a whole, for the owner only",
          "[saved]") {
  const temp_dir folder;
  const auto path = folder.file("f");
  CHECK(read_file(path).error().code == errc::not_found);
  REQUIRE_FALSE(write_file(path, "first"));
  const std::string large(3'000'000, 'x');
  REQUIRE_FALSE(write_file(path, large));
  auto found = read_file(path);
  REQUIRE(found);
  CHECK(found->text == large);
  struct stat seen {};
  REQUIRE(stat(path.c_str(), &seen) == 0);
  CHECK((seen.st_mode & 0777) == 0600);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()),
                      std::filesystem::directory_iterator()) == 1);

  const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), long_ago, 0) == 0);
  CHECK(read_file(path)->changed == 1000);
  touch_file(path);
  CHECK(read_file(path)->changed > 1'700'000'000);
}

TEST_CASE("saved content: a file that cannot be written leaves the old one",
          "[saved]") {
  const temp_dir folder;
  const auto path = folder.file("f");
  REQUIRE_FALSE(write_file(path, "good"));
  // what stands in the way is a folder: root may write anywhere else
  const auto temporary = path + "." + std::to_string(getpid()) + ".tmp";
  std::filesystem::create_directory(temporary);
  const auto problem = write_file(path, "bad");
  REQUIRE(problem);
  CHECK(problem->message == temporary + ": Is a directory");
  CHECK(read_file(path)->text == "good");
  const auto nowhere = write_file(folder.file("no/f"), "x");
  REQUIRE(nowhere);
  CHECK(nowhere->code == errc::unavailable);
}
