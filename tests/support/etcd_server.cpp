#include "support/etcd_server.hpp"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "support/http_client.hpp"
#include "support/tcp_server.hpp"

namespace zedcup::test {

namespace {

std::string url(uint16_t port) {
  return "http://127.0.0.1:" + std::to_string(port);
}

bool is_healthy(http_driver& driver, uint16_t port) {
  const auto answer = fetch(driver, to_port(port, "/health"));
  return answer && answer->body.find("\"true\"") != std::string::npos;
}

} // namespace

etcd_cluster::etcd_cluster(size_t members, std::vector<std::string> extra)
    : extra_(std::move(extra)) {
  for (size_t i = 0; i < members; ++i) {
    auto made = std::make_unique<member>();
    made->name = "m" + std::to_string(i);
    made->folder = dir_.file(made->name);
    made->client_port = free_port();
    made->peer_port = free_port();
    members_.push_back(std::move(made));
  }
  // One waits for the others: all are started before any is waited for.
  for (auto& each : members_)
    launch(*each);
  for (auto& each : members_)
    await(*each);
}

std::string etcd_cluster::initial_cluster() const {
  std::string all;
  for (const auto& each : members_)
    all += (all.empty() ? "" : ",") + each->name + "=" + url(each->peer_port);
  return all;
}

void etcd_cluster::launch(member& which) {
  std::vector<std::string> command{"etcd",
                                   "--name",
                                   which.name,
                                   "--data-dir",
                                   which.folder,
                                   "--listen-client-urls",
                                   url(which.client_port),
                                   "--advertise-client-urls",
                                   url(which.client_port),
                                   "--listen-peer-urls",
                                   url(which.peer_port),
                                   "--initial-advertise-peer-urls",
                                   url(which.peer_port),
                                   "--initial-cluster",
                                   initial_cluster()};
  command.insert(command.end(), extra_.begin(), extra_.end());
  which.process.launch(command, dir_.file(which.name + ".log"));
}

void etcd_cluster::await(member& which) {
  const auto driver = start_driver();
  which.process.await([&] { return is_healthy(*driver, which.client_port); });
}

etcd_options etcd_cluster::options() const {
  etcd_options made;
  made.addresses.clear();
  for (const auto& each : members_)
    made.addresses.emplace_back("127.0.0.1", each->client_port);
  return made;
}

void etcd_cluster::restart(size_t which) {
  members_[which]->process.kill_now();
  launch(*members_[which]);
  await(*members_[which]);
}

void etcd_cluster::control(const std::string& arguments) const {
  const auto command = "ETCDCTL_API=3 etcdctl --endpoints " +
                       url(members_[0]->client_port) + " " + arguments +
                       " >>'" + dir_.file("etcdctl.log") + "' 2>&1";
  if (std::system(command.c_str()) != 0)
    throw std::runtime_error("etcdctl " + arguments + " failed");
}

void etcd_cluster::restore(const std::string& snapshot) {
  auto& first = *members_[0];
  first.process.kill_now();
  first.folder += "-restored";
  control("snapshot restore '" + snapshot + "' --name " + first.name +
          " --data-dir '" + first.folder + "' --initial-cluster '" +
          initial_cluster() + "' --initial-advertise-peer-urls " +
          url(first.peer_port));
  launch(first);
  await(first);
}

void etcd_cluster::save_data(const std::string& folder) {
  members_[0]->process.kill_now();
  std::filesystem::copy(members_[0]->folder, folder,
                        std::filesystem::copy_options::recursive);
  restart();
}

void etcd_cluster::put_back(const std::string& folder) {
  members_[0]->process.kill_now();
  std::filesystem::remove_all(members_[0]->folder);
  std::filesystem::copy(folder, members_[0]->folder,
                        std::filesystem::copy_options::recursive);
  restart();
}

} // namespace zedcup::test
