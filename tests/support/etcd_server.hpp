// Real etcd servers for tests: one, or a cluster, each with a folder and ports
// of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/etcd_options.hpp"
#include "store/etcd_protocol.hpp"
#include "support/server_process.hpp"
#include "support/temp_dir.hpp"

namespace zedcup::test {

class etcd_cluster {
public:
  /// Starts that many members (`etcd` on PATH) and waits until all answer.
  /// `extra` are more arguments for each.
  explicit etcd_cluster(size_t count = 1, std::vector<std::string> extra = {});

  /// How to reach it: all members, in order.
  etcd_options options() const;

  void kill_now(size_t which = 0) { members_[which]->process.kill_now(); }
  void restart(size_t which = 0);
  /// SIGSTOP: connections to it stay, and nothing comes.
  void freeze(size_t which = 0) const { members_[which]->process.freeze(); }
  void thaw(size_t which = 0) const { members_[which]->process.thaw(); }

  /// `etcdctl ARGUMENTS` with the first member's address; raises when it fails.
  void control(const std::string& arguments) const;
  /// Stops the first member and starts it from a snapshot that
  /// control("snapshot save FILE") wrote: an older past.
  void restore(const std::string& snapshot);
  /// Stops the only member, and starts it with a copy of the data that it had
  /// at save_data(): the same cluster, with an older past.
  void save_data(const std::string& folder);
  void put_back(const std::string& folder);

  std::string file(const std::string& name) const { return dir_.file(name); }

private:
  struct member {
    std::string name;
    std::string folder;
    uint16_t client_port = 0;
    uint16_t peer_port = 0;
    server_process process;
  };

  void launch(member& which);
  static void await(member& which);
  std::string initial_cluster() const;

  temp_dir dir_;
  std::vector<std::string> extra_;
  std::vector<std::unique_ptr<member>> members_;
};

} // namespace zedcup::test
