#include "actors/log.hpp"

#include <mutex>
#include <utility>

#include <spdlog/sinks/base_sink.h>

namespace zedcup {

namespace {

constexpr size_t waiting_lines_limit = 1000;

// nginx: 1 emerg, 2 alert, 3 crit, 4 error, 5 warn, 6 notice, 7 info, 8 debug
int nginx_level_of(spdlog::level::level_enum level) {
  switch (level) {
  case spdlog::level::critical:
    return 3;
  case spdlog::level::err:
    return 4;
  case spdlog::level::warn:
    return 5;
  case spdlog::level::info:
    return 6;
  default:
    return 8;
  }
}

spdlog::level::level_enum level_for(int nginx_level) {
  if (nginx_level >= 8)
    return spdlog::level::debug;
  if (nginx_level >= 6)
    return spdlog::level::info;
  if (nginx_level == 5)
    return spdlog::level::warn;
  return nginx_level == 4 ? spdlog::level::err : spdlog::level::critical;
}

class outbox_sink : public spdlog::sinks::base_sink<std::mutex> {
public:
  explicit outbox_sink(outbox<loop_message>& out) : out_(out) {}

protected:
  void sink_it_(const spdlog::details::log_msg& line) override {
    std::string text(line.payload.data(), line.payload.size());
    if (dropped_ > 0)
      text += " (" + std::to_string(dropped_) + " lines before were dropped)";
    log_line message{nginx_level_of(line.level), std::move(text)};
    if (out_.push_unless_full(std::move(message), waiting_lines_limit))
      dropped_ = 0;
    else
      ++dropped_;
  }
  void flush_() override {}

private:
  outbox<loop_message>& out_;
  size_t dropped_ = 0;
};

} // namespace

std::shared_ptr<spdlog::logger> make_logger(outbox<loop_message>& out,
                                            int nginx_level) {
  auto logger = std::make_shared<spdlog::logger>(
      "zedcup", std::make_shared<outbox_sink>(out));
  logger->set_level(level_for(nginx_level));
  return logger;
}

} // namespace zedcup
