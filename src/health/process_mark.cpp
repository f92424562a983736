#include "health/process_mark.hpp"

#include <cerrno>
#include <csignal>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <sstream>

#include "config/json_writer.hpp"
#include "config/tree.hpp"

namespace zedcup {

namespace {

std::string first_line(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

/// When a process started; 0: there is none, or it only waits to be reaped.
uint64_t start_ticks(int64_t pid) {
  const auto line = first_line("/proc/" + std::to_string(pid) + "/stat");
  // The name in parentheses may hold anything; behind it: state (field 3) …
  // starttime (field 22).
  const auto behind = line.rfind(')');
  if (behind == std::string::npos)
    return 0;
  std::istringstream fields(line.substr(behind + 1));
  std::string word;
  for (int field = 3; field <= 22 && fields >> word; ++field) {
    if (field == 3 && (word == "Z" || word == "X"))
      return 0;
    if (field == 22)
      return std::strtoull(word.c_str(), nullptr, 10);
  }
  return 0;
}

std::string link_target(const char* path) {
  std::array<char, 128> text{};
  const auto size = readlink(path, text.data(), text.size());
  return size > 0 ? std::string(text.data(), static_cast<size_t>(size)) : "";
}

std::string text_of(const tree& node, const char* key) {
  const tree* child = node.find(key);
  return child != nullptr && child->is_leaf() ? *child->text : "";
}

} // namespace

process_mark process_mark::own(std::string run) {
  process_mark mine;
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) == 0)
    mine.host = name.data();
  mine.pid = getpid();
  mine.started = std::time(nullptr);
  mine.boot = first_line("/proc/sys/kernel/random/boot_id");
  mine.pid_space = link_target("/proc/self/ns/pid");
  mine.ticks = start_ticks(mine.pid);
  mine.run = std::move(run);
  return mine;
}

std::string process_mark::to_json() const {
  json_writer out;
  const auto member = [&](const char* key, const std::string& text) {
    out.key(key);
    out.string(text);
  };
  out.begin_object();
  member("host", host);
  out.key("pid");
  out.number(static_cast<uint64_t>(pid));
  out.key("started");
  out.number(static_cast<uint64_t>(started));
  member("boot", boot);
  member("pid_space", pid_space);
  out.key("ticks");
  out.number(ticks);
  member("run", run);
  out.end_object();
  return out.take();
}

process_mark process_mark::parse(std::string_view json) {
  process_mark mark;
  const auto root = tree_from_json(json);
  if (!root)
    return mark;
  mark.host = text_of(*root, "host");
  mark.pid = std::strtoll(text_of(*root, "pid").c_str(), nullptr, 10);
  mark.started = std::strtoll(text_of(*root, "started").c_str(), nullptr, 10);
  mark.boot = text_of(*root, "boot");
  mark.pid_space = text_of(*root, "pid_space");
  mark.ticks = std::strtoull(text_of(*root, "ticks").c_str(), nullptr, 10);
  mark.run = text_of(*root, "run");
  return mark;
}

bool process_mark::knows_ended(const process_mark& other) const {
  if (boot.empty() || pid_space.empty() || other.boot != boot ||
      other.pid_space != pid_space || other.pid <= 0 || other.ticks == 0)
    return false;
  if (other.pid == pid && other.ticks == ticks)
    return other.run == run;
  const auto seen = start_ticks(other.pid);
  if (seen == 0) // or /proc hides other users' processes
    return kill(static_cast<pid_t>(other.pid), 0) != 0 && errno == ESRCH;
  return seen != other.ticks;
}

} // namespace zedcup
