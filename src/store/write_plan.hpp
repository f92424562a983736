// How to rewrite one instance, or the global settings, so that readers see the
// old content or the new, never a mixture. Pure; one thread at a time.
//
// What fits into one commit is one commit. More goes through a redo record:
// the first commit removes the old keys and writes the whole new content as
// JSON under `<prefix>/instances/<i>/_pending`; readers that see `_pending`
// use it instead of the plain keys. Then batches write the plain keys, each on
// condition that the record is still the same, and the last removes it. A
// writer that dies leaves the record; anyone may complete it. A writer that
// was superseded gets a conflict.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/kv.hpp"
#include "util/result.hpp"

namespace zedcup {

/// Path below the instance ("pools/1/hosts/2/port") and text.
using kv_leaves = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view pending_key = "_pending";

struct pending_record {
  std::string id; ///< the writer's, unique per write
  kv_leaves leaves;
};

/// Reads the value of a `_pending` key. Errors: bad_answer.
result<pending_record> parse_pending(std::string_view value);

/// Yields one commit at a time:
///
///   while (auto ops = plan.next()) { r = commit(*ops); plan.committed(*r); }
///
/// An error of commit() ends the plan: `conflict` means that another writer
/// was faster; after `unavailable` it is unknown whether the commit happened,
/// and building the plan anew is safe.
class write_plan {
public:
  /// Replaces everything below `<prefix>/instances/<instance>/`, and drops its
  /// `state`. `id` names this write (a UUID). Errors: invalid_argument (an
  /// empty instance name or path), too_large (naming size and limit).
  static result<write_plan> replace_instance(std::string_view prefix,
                                             std::string_view instance,
                                             const kv_leaves& leaves,
                                             std::string_view id,
                                             const commit_limits& limits);

  /// Completes another writer's record, as read from the store.
  static result<write_plan> complete_pending(std::string_view prefix,
                                             std::string_view instance,
                                             const kv_entry& record,
                                             const commit_limits& limits);

  /// Removes an instance and its state.
  static result<write_plan> remove_instance(std::string_view prefix,
                                            std::string_view instance);

  /// Replaces everything below `<prefix>/config/`; always one commit.
  static result<write_plan> replace_config(std::string_view prefix,
                                           const kv_leaves& leaves,
                                           const commit_limits& limits);

  /// The next commit; nullopt: done. The same one until committed().
  std::optional<std::vector<kv_op>> next() const;

  /// Tells that the commit from next() went through.
  void committed(const commit_result& result);

private:
  struct batch {
    std::vector<kv_op> ops;
    size_t end = 0;    ///< of sets_, after this batch
    bool last = false; ///< it removes the record
  };

  write_plan() = default;
  batch next_batch() const;

  std::vector<kv_op> first_;  ///< the atomic point; empty: passed
  std::string record_key_;    ///< empty: no record, `first_` is everything
  uint64_t record_index_ = 0; ///< modify_index of the record
  std::vector<kv_op> sets_;   ///< the plain keys
  size_t done_ = 0;           ///< of sets_
  bool finished_ = false;
  commit_limits limits_;
};

} // namespace zedcup
