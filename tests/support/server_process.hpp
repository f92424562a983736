// A server of a test: a process of its own that is killed by its pid when the
// object goes, or when the test process dies.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace zedcup::test {

class server_process {
public:
  server_process() = default;
  /// thaw() and kill_now().
  ~server_process();
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  /// Starts `command` (its first word is looked up on PATH) with its output in
  /// `log`. It dies with the thread that calls this.
  void launch(const std::vector<std::string>& command, const std::string& log);

  /// Asks `ready` until it says yes. Kills the process and throws, with the end
  /// of the log, when that takes a minute or the process ends first.
  void await(const std::function<bool()>& ready);

  void kill_now();
  /// SIGSTOP and SIGCONT: a server that hangs.
  void freeze() const;
  void thaw() const;

private:
  pid_t pid_ = -1;
  std::string name_;
  std::string log_;
};

} // namespace zedcup::test
