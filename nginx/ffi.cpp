// What Lua calls. Thin: checks, guards against exceptions, and passes on to
// the worker's runtime.
#include "nginx/zedcup_ffi.h"

#include <string>

#include "nginx/bridge.hpp"
#include "nginx/ffi_guard.hpp"

namespace {

template <class T, class F>
T guarded(T otherwise, F&& body) noexcept {
  try {
    auto* runtime = zedcup::worker_runtime();
    return runtime != nullptr ? body(*runtime) : otherwise;
  } catch (const std::exception& problem) {
    std::string_view what = problem.what();
    ngx_http_zedcup_log(NGX_LOG_ERR, what.data(), what.size());
    return otherwise;
  }
}

zedcup::result<zedcup::system_options> parse(const char* json, size_t len,
                                             bool tell_notices) {
  std::vector<std::string> notices;
  auto options = zedcup::parse_system_options({json, len}, notices);
  if (tell_notices)
    for (auto& notice : notices)
      ngx_http_zedcup_log(NGX_LOG_WARN, notice.data(), notice.size());
  return options;
}

} // namespace

uint32_t zedcup_ffi_abi_version(void) {
  return ZEDCUP_FFI_ABI;
}

int zedcup_ffi_options_check(const char* json, size_t len, char* err,
                             size_t* err_len) {
  try {
    auto options = parse(json, len, true);
    if (options)
      return 0;
    zedcup::put_ffi_error(err, err_len, options.error().message);
  } catch (const std::exception& problem) {
    zedcup::put_ffi_error(err, err_len, problem.what());
  }
  return ZEDCUP_FFI_ERROR;
}

int zedcup_ffi_runtime_start(const char* json, size_t len, void* sema,
                             char* err, size_t* err_len) {
  try {
    auto options = parse(json, len, false);
    if (!options) {
      zedcup::put_ffi_error(err, err_len, options.error().message);
      return ZEDCUP_FFI_ERROR;
    }
    zedcup_store_start(); // that one decides
    auto started = zedcup::start_worker_runtime(std::move(*options), sema);
    if (started)
      return *started ? 0 : ZEDCUP_FFI_DECLINED;
    zedcup::put_ffi_error(err, err_len, started.error().message);
  } catch (const std::exception& problem) {
    zedcup::put_ffi_error(err, err_len, problem.what());
  }
  return ZEDCUP_FFI_ERROR;
}

void zedcup_ffi_runtime_state(zedcup_ffi_state_t* out) {
  *out = {0, 0, 0, 0, "", 0, 0};
  guarded(0, [&](zedcup::runtime& runtime) {
    runtime.state(*out);
    return 0;
  });
}

const volatile uint32_t* zedcup_ffi_epoch_get(void) {
  return zedcup::runtime_epoch();
}

int zedcup_ffi_messages_take(zedcup_ffi_message_t* out, int max) {
  return guarded(0, [&](zedcup::runtime& runtime) {
    return runtime.messages().take(out, max);
  });
}

uint64_t zedcup_ffi_ask_submit(int what, const char* name, size_t name_len,
                               const char* json, size_t json_len) {
  return guarded(uint64_t{0}, [&](zedcup::runtime& runtime) {
    if (what >= ZEDCUP_ASK_STATE)
      return runtime.ask_host(what, {name, name_len}, {json, json_len});
    return runtime.ask(what, {name, name_len}, {json, json_len});
  });
}

zedcup_instance_t* zedcup_ffi_instance_acquire(const char* name,
                                               size_t name_len) {
  return guarded(static_cast<zedcup_instance_t*>(nullptr),
                 [&](zedcup::runtime& runtime) {
                   return runtime.instances().acquire({name, name_len});
                 });
}

void zedcup_ffi_instance_release(zedcup_instance_t* instance) {
  zedcup::registry::release(instance);
}

void zedcup_ffi_instance_json(zedcup_instance_t* instance, const char** json,
                              size_t* len) {
  auto& text = instance->content->json();
  *json = text.data();
  *len = text.size();
}

int zedcup_ffi_host_failed(zedcup_instance_t* instance, uint32_t pool,
                           uint32_t host, const char* err, size_t err_len) {
  return guarded(0, [&](zedcup::runtime& runtime) {
    return runtime.failed(*instance, pool, host, {err, err_len}) ? 1 : 0;
  });
}

void zedcup_ffi_instance_list(const char** json, size_t* len) {
  *json = "[]";
  *len = 2;
  guarded(0, [&](zedcup::runtime& runtime) {
    auto& names = runtime.names_json();
    *json = names.data();
    *len = names.size();
    return 0;
  });
}

void zedcup_ffi_global_json(const char** json, size_t* len) {
  *json = "{}";
  *len = 2;
  guarded(0, [&](zedcup::runtime& runtime) {
    *json = runtime.global_json().data();
    *len = runtime.global_json().size();
    return 0;
  });
}
