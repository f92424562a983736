#include "nginx/waiting_asks.hpp"

#include <utility>

#include "nginx/zedcup_ffi.h"

namespace zedcup {

namespace {

bool satisfied(const waiting_asks::ask& waiting, const applied_state& now) {
  switch (waiting.what) {
  case ZEDCUP_ASK_SYNCED:
    return now.has_content;
  case ZEDCUP_ASK_REMOVE_INSTANCE:
    return now.synced && now.instances.find(waiting.instance) == nullptr;
  case ZEDCUP_ASK_CONFIGURE:
    return now.global_revision >= waiting.revision;
  default:
    return now.synced && now.revision >= waiting.revision;
  }
}

bool refused(const waiting_asks::ask& waiting, const applied_state& now) {
  return waiting.what == ZEDCUP_ASK_CONFIGURE_INSTANCE &&
         now.refused.count(waiting.instance) != 0;
}

std::string overdue(const waiting_asks::ask& waiting,
                    const applied_state& now) {
  std::string problem =
      waiting.what == ZEDCUP_ASK_SYNCED
          ? "the store has not been read yet"
          : "written to the store, but not applied in this worker";
  if (!now.trouble.empty())
    problem += ": " + now.trouble;
  return problem;
}

} // namespace

void waiting_asks::check(
    const applied_state& now,
    const std::function<void(uint64_t, std::string)>& answer) {
  auto time = clock::now();
  std::vector<ask> before;
  before.swap(asks_);
  for (auto& waiting : before) {
    if (satisfied(waiting, now))
      answer(waiting.id, refused(waiting, now)
                             ? "written to the store, but not served: it does "
                               "not fit into the zone; raise zedcup_zone"
                             : "");
    else if (time >= waiting.deadline)
      answer(waiting.id, overdue(waiting, now));
    else
      asks_.push_back(std::move(waiting));
  }
}

} // namespace zedcup
