// Messages on their way to Lua's dispatcher. Event-loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "nginx/zedcup_ffi.h"

namespace zedcup {

struct lua_message {
  int kind = 0; ///< ZEDCUP_MESSAGE_*
  uint64_t id = 0;
  uint64_t revision = 0;
  std::string name;
  std::string text;
};

class lua_queue {
public:
  /// @param semaphore an ngx_http_lua_sema_t that outlives the queue; nullptr
  ///        (no Lua): messages are dropped, nobody waits for them.
  explicit lua_queue(void* semaphore);

  /// From now on messages are kept for Lua. false: they are already.
  bool attach(void* semaphore);

  void push(lua_message message);

  /// Hands over up to `max`; their strings live until the next call.
  int take(zedcup_ffi_message_t* out, int max);

  /// Makes the dispatcher look up, also without a message.
  void wake();

private:
  void* semaphore_;
  std::deque<lua_message> waiting_;
  std::deque<lua_message> taken_;
  bool posted_ = false;
};

} // namespace zedcup
