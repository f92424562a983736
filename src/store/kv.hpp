// The vocabulary that all store engines share: entries, operations, results.
// Plain values; built and read on any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zedcup {

/// One key as a store holds it.
struct kv_entry {
  std::string key;   ///< full key, prefix included, no leading slash
  std::string value; ///< raw bytes
  uint64_t flags = 0;
  uint64_t modify_index = 0; ///< store revision of the last change
  std::string session;       ///< the lock's holder, empty when not locked

  friend bool operator==(const kv_entry& a, const kv_entry& b) {
    return a.modify_index == b.modify_index && a.key == b.key &&
           a.value == b.value && a.flags == b.flags && a.session == b.session;
  }
};

/// Everything below a prefix at one revision, sorted by key.
struct kv_tree {
  std::vector<kv_entry> entries;
  uint64_t revision = 0; ///< of the read (Consul: X-Consul-Index)
};

/// One step of a commit. The steps of one commit apply in order and all or
/// none of them.
struct kv_op {
  enum class verb {
    set,          ///< key, value, flags
    set_if,       ///< as set, if the key's modify_index is `index` (0: absent)
    remove,       ///< key; absent is fine
    remove_if,    ///< key, if its modify_index is `index`
    remove_tree,  ///< every key that starts with `key`
    check_index,  ///< fail the commit unless modify_index is `index`
    check_absent, ///< fail the commit if the key exists
    lock,         ///< as set, taking the key for `session`; fails when held
    unlock,       ///< as set, giving up `session`'s hold
  };
  verb what = verb::set;
  std::string key;
  std::string value;
  uint64_t flags = 0;
  uint64_t index = 0;
  std::string session;
};

/// What a successful commit left behind.
struct commit_result {
  uint64_t revision = 0; ///< highest modify_index it made; 0: deletes only
  /// modify_index per `set…` op in op order (0 for ops that are not a set).
  std::vector<uint64_t> indexes;
};

/// What one commit of an engine may carry.
struct commit_limits {
  size_t max_ops = 64;                   ///< Consul up to 1.12: 64, later 128
  size_t max_bytes = size_t{256} * 1024; ///< keys and values, unencoded
};

} // namespace zedcup
