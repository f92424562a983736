#include "support/consul_agent.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

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

consul_target consul_agent::target() const {
  consul_options options;
  options.addresses = {{"127.0.0.1", http_port_}};
  return consul_targets(options).front();
}

void consul_agent::start() {
  const auto driver = start_driver();
  process_.launch(
      {consul_binary(), "agent", "-config-file=" + dir_.file("agent.json")},
      dir_.file("log"));
  process_.await([&] {
    const auto answer =
        fetch(*driver, to_port(http_port_, "/v1/kv/ready?consistent"));
    // Without a leader it is 500; 403 is an ACL system that works.
    return answer && (answer->status == 404 || answer->status == 403);
  });
}

void consul_agent::restart() {
  process_.kill_now();
  start();
}

} // namespace zedcup::test
