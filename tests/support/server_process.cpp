#include "support/server_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace zedcup::test {

server_process::~server_process() {
  thaw();
  kill_now();
}

void server_process::launch(const std::vector<std::string>& command,
                            const std::string& log) {
  name_ = command.front();
  log_ = log;
  std::vector<char*> words;
  for (const auto& word : command)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0)
    throw std::runtime_error("no process for " + command.front());
  if (pid_ == 0) {
    // Also when the test is killed: no server may stay behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(1);
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execvp(words.front(), words.data());
    _exit(127);
  }
}

void server_process::await(const std::function<bool()>& ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < end) {
    if (ready())
      return;
    siginfo_t ended{}; // left for kill_now() to reap
    waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid == pid_)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill_now(); // a constructor that throws runs no destructor
  std::ifstream file(log_);
  std::ostringstream whole;
  whole << file.rdbuf();
  const auto text = whole.str();
  throw std::runtime_error(
      name_ + " does not start; its log ends with:\n" +
      text.substr(text.size() - std::min<size_t>(text.size(), 3000)));
}

void server_process::kill_now() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
}

void server_process::freeze() const {
  if (pid_ > 0)
    kill(pid_, SIGSTOP);
}

void server_process::thaw() const {
  if (pid_ > 0)
    kill(pid_, SIGCONT);
}

} // namespace zedcup::test
