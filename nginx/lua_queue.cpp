#include "nginx/lua_queue.hpp"

#include <dlfcn.h>
#include <utility>

namespace zedcup {

namespace {

using sema_post_fn = int (*)(void* semaphore, int n);

/// ngx_lua is another dynamic module, and may be absent.
sema_post_fn sema_post() {
  static const auto found = reinterpret_cast<sema_post_fn>(
      dlsym(RTLD_DEFAULT, "ngx_http_lua_ffi_sema_post"));
  return found;
}

} // namespace

lua_queue::lua_queue(void* semaphore)
    : semaphore_(sema_post() != nullptr ? semaphore : nullptr) {}

bool lua_queue::attach(void* semaphore) {
  if (semaphore_ != nullptr || sema_post() == nullptr)
    return false;
  semaphore_ = semaphore;
  return true;
}

void lua_queue::push(lua_message message) {
  if (semaphore_ == nullptr)
    return;
  waiting_.push_back(std::move(message));
  if (!std::exchange(posted_, true))
    wake();
}

int lua_queue::take(zedcup_ffi_message_t* out, int max) {
  taken_.clear();
  while (!waiting_.empty() && static_cast<int>(taken_.size()) < max) {
    taken_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  // The taker comes back until it gets none; whatever comes later is posted.
  posted_ = false;
  int count = 0;
  for (auto& message : taken_)
    out[count++] = {message.kind,        message.id,
                    message.revision,    message.name.data(),
                    message.name.size(), message.text.data(),
                    message.text.size()};
  return count;
}

void lua_queue::wake() {
  if (semaphore_ != nullptr)
    sema_post()(semaphore_, 1);
}

} // namespace zedcup
