// Log lines on their way to nginx's error log.
#include "actors/log.hpp"
#include "support/catch.hpp"

using namespace zedcup;

namespace {

std::vector<log_line> lines_of(outbox<loop_message>& out) {
  std::deque<loop_message> batch;
  while (out.drain(batch, 100)) {
  }
  std::vector<log_line> lines;
  for (auto& message : batch)
    lines.push_back(std::get<log_line>(message));
  return lines;
}

void say_everything(spdlog::logger& log) {
  log.trace("trace");
  log.debug("debug");
  log.info("info");
  log.warn("warn");
  log.error("error");
  log.critical("critical");
}

std::string texts(const std::vector<log_line>& lines) {
  std::string all;
  for (auto& line : lines)
    all += std::to_string(line.level) + line.text + " ";
  return all;
}

} // namespace

TEST_CASE("log: levels become nginx's, those above its own are dropped",
          "[log]") {
  const std::vector<std::pair<int, std::string>> cases = {
      {1, "3critical "},
      {2, "3critical "},
      {3, "3critical "},
      {4, "4error 3critical "},
      {5, "5warn 4error 3critical "},
      {6, "6info 5warn 4error 3critical "},
      {7, "6info 5warn 4error 3critical "},
      {8, "8debug 6info 5warn 4error 3critical "},
  };
  for (auto& [nginx_level, expected] : cases) {
    outbox<loop_message> out([] {});
    say_everything(*make_logger(out, nginx_level));
    CHECK(texts(lines_of(out)) == expected);
  }
}

TEST_CASE("log: braces in an argument are text", "[log]") {
  outbox<loop_message> out([] {});
  make_logger(out, 8)->error("{}: {}", "key{}", "{0}");
  CHECK(texts(lines_of(out)) == "4key{}: {0} ");
}

TEST_CASE("log: lines beyond a thousand are dropped and counted", "[log]") {
  outbox<loop_message> out([] {});
  auto log = make_logger(out, 8);
  for (int i = 0; i < 1007; ++i)
    log->error("line {}", i);
  auto lines = lines_of(out);
  REQUIRE(lines.size() == 1000);
  CHECK(lines.back().text == "line 999");
  log->error("next");
  log->error("and one more");
  CHECK(texts(lines_of(out)) ==
        "4next (7 lines before were dropped) 4and one more ");
}

TEST_CASE("log: other messages are not dropped for log lines", "[log]") {
  outbox<loop_message> out([] {});
  auto log = make_logger(out, 8);
  for (int i = 0; i < 1000; ++i)
    log->error("line");
  out.push(synced{});
  log->error("dropped");
  std::deque<loop_message> batch;
  while (out.drain(batch, 100)) {
  }
  CHECK(batch.size() == 1001);
  CHECK(std::holds_alternative<synced>(batch.back()));
}
