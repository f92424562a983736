// The commit rules of kv.hpp in their simplest form: what tests run plans
// against, and what the engines are compared with.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup::test {

class memory_store {
public:
  result<commit_result> commit(const std::vector<kv_op>& ops) {
    auto entries = entries_;
    commit_result made;
    made.indexes.assign(ops.size(), 0);
    for (size_t i = 0; i < ops.size(); ++i)
      if (!apply(entries, ops[i], made.indexes[i]))
        return error{errc::conflict, "op " + std::to_string(i)};
    entries_ = std::move(entries);
    ++revision_;
    made.revision = revision_;
    return made;
  }

  const std::map<std::string, kv_entry>& entries() const { return entries_; }

  /// Deletes what a session holds.
  void end_session(const std::string& id) {
    for (auto it = entries_.begin(); it != entries_.end();)
      it = it->second.session == id ? entries_.erase(it) : std::next(it);
    ++revision_;
  }

  /// Values below a prefix, by the rest of their key.
  std::map<std::string, std::string> below(const std::string& prefix) const {
    std::map<std::string, std::string> found;
    for (const auto& [key, entry] : entries_)
      if (key.compare(0, prefix.size(), prefix) == 0)
        found[key.substr(prefix.size())] = entry.value;
    return found;
  }

private:
  using map = std::map<std::string, kv_entry>;

  bool apply(map& entries, const kv_op& op, uint64_t& index) const {
    using verb = kv_op::verb;
    const auto found = entries.find(op.key);
    const uint64_t now =
        found == entries.end() ? 0 : found->second.modify_index;
    switch (op.what) {
    case verb::set_if:
      if (now != op.index)
        return false;
      [[fallthrough]];
    case verb::set:
      index = revision_ + 1;
      entries[op.key] = {op.key, op.value, op.flags, index, ""};
      return true;
    case verb::remove_if:
      if (now != 0 && now != op.index)
        return false;
      [[fallthrough]];
    case verb::remove:
      entries.erase(op.key);
      return true;
    case verb::remove_tree:
      for (auto it = entries.lower_bound(op.key);
           it != entries.end() &&
           it->first.compare(0, op.key.size(), op.key) == 0;)
        it = entries.erase(it);
      return true;
    case verb::check_index:
      return now != 0 && now == op.index;
    case verb::check_absent:
      return now == 0;
    case verb::lock:
      if (now != 0 && !found->second.session.empty() &&
          found->second.session != op.session)
        return false;
      index = revision_ + 1;
      entries[op.key] = {op.key, op.value, op.flags, index, op.session};
      return true;
    default:
      return false;
    }
  }

  map entries_;
  uint64_t revision_ = 0;
};

} // namespace zedcup::test
