#include "support/consul_agent.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "support/http_client.hpp"
#include "support/tcp_server.hpp"

namespace zedcup::test {
namespace {

std::string on_path(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    auto candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0)
      return candidate;
  }
  return {};
}

std::string port_entry(const char* name) {
  return std::string(", \"") + name + "\": " + std::to_string(free_port());
}

} // namespace

std::string consul_binary() {
  const char* const named = std::getenv("ZEDCUP_CONSUL");
  auto binary =
      named && *named != '\0' ? std::string(named) : on_path("consul");
  if (binary.empty() || access(binary.c_str(), X_OK) != 0)
    throw std::runtime_error(
        "no consul binary for the live tests: put one on PATH, name it in "
        "ZEDCUP_CONSUL, or run `sh cmake/fetch_deb.sh bullseye consul "
        "build/tools` and configure again");
  return binary;
}

consul_agent::consul_agent(const std::string& extra) {
  configure("", extra);
  start();
}

consul_agent::consul_agent(tls_tag) : tls_port_(free_port()) {
  make_certificates();
  configure(", \"https\": " + std::to_string(tls_port_),
            R"("verify_incoming_https": true, "ca_file": ")" + file("ca.pem") +
                R"(", "cert_file": ")" + file("server.pem") +
                R"(", "key_file": ")" + file("server-key.pem") + "\"");
  start();
}

std::unique_ptr<consul_agent> consul_agent::with_tls() {
  return std::unique_ptr<consul_agent>(new consul_agent(tls_tag{}));
}

void consul_agent::make_certificates() const {
  const auto run = [&](const std::string& arguments) {
    const auto command = "cd '" + dir_.path().string() + "' && '" +
                         consul_binary() + "' tls " + arguments + " >>tls.log";
    if (std::system(command.c_str()) != 0)
      throw std::runtime_error("consul tls " + arguments + " failed");
  };
  const auto rename = [&](const std::string& from, const std::string& to) {
    std::filesystem::rename(file(from), file(to));
  };
  run("ca create");
  run("cert create -server");
  run("cert create -client");
  rename("consul-agent-ca.pem", "ca.pem");
  rename("dc1-server-consul-0.pem", "server.pem");
  rename("dc1-server-consul-0-key.pem", "server-key.pem");
  rename("dc1-client-consul-0.pem", "client.pem");
  rename("dc1-client-consul-0-key.pem", "client-key.pem");
}

void consul_agent::configure(const std::string& ports,
                             const std::string& extra) {
  http_port_ = free_port();
  std::ofstream(dir_.file("agent.json"))
      << R"({"server": true, "bootstrap": true, "bind_addr": "127.0.0.1",
             "client_addr": "127.0.0.1", "node_name": "test",
             "disable_update_check": true, "session_ttl_min": "1s",
             "performance": {"raft_multiplier": 1},
             "connect": {"enabled": false}, "data_dir": ")"
      << dir_.file("data") << R"(", "ports": {"dns": -1, "grpc": -1,
             "serf_wan": -1, "http": )"
      << http_port_ << port_entry("serf_lan") << port_entry("server") << ports
      << "}" << (extra.empty() ? "" : ", ") << extra << "}";
}

consul_agent::~consul_agent() {
  thaw();
  kill_now();
}

consul_target consul_agent::target() const {
  consul_options options;
  options.addresses = {{"127.0.0.1", http_port_}};
  return consul_targets(options).front();
}

void consul_agent::start() {
  const auto binary = consul_binary();
  const auto log = dir_.file("log");
  const auto config = "-config-file=" + dir_.file("agent.json");
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0)
    throw std::runtime_error("no process for consul");
  if (pid_ == 0) {
    // Also when the test is killed: no agent may stay behind.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(1);
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execl(binary.c_str(), "consul", "agent", config.c_str(), nullptr);
    _exit(127);
  }
  try {
    wait_until_ready();
  } catch (...) {
    kill_now(); // a constructor that throws runs no destructor
    throw;
  }
}

void consul_agent::wait_until_ready() const {
  const auto driver = start_driver();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < end) {
    const auto answer =
        fetch(*driver, to_port(http_port_, "/v1/kv/ready?consistent"));
    // Without a leader it is 500; 403 is an ACL system that works.
    if (answer && (answer->status == 404 || answer->status == 403))
      return;
    siginfo_t ended{}; // left for kill_now() to reap
    waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid == pid_)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::ifstream log(dir_.file("log"));
  std::ostringstream whole;
  whole << log.rdbuf();
  const auto text = whole.str();
  throw std::runtime_error(
      "consul does not start; its log ends with:\n" +
      text.substr(text.size() - std::min<size_t>(text.size(), 3000)));
}

void consul_agent::kill_now() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
}

void consul_agent::restart() {
  kill_now();
  start();
}

void consul_agent::freeze() const {
  if (pid_ > 0)
    kill(pid_, SIGSTOP);
}

void consul_agent::thaw() const {
  if (pid_ > 0)
    kill(pid_, SIGCONT);
}

} // namespace zedcup::test
