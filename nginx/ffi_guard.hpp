// What all functions that Lua calls do about errors and exceptions.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <string_view>

#include "nginx/zedcup_ffi.h"
#include "util/result.hpp"

namespace zedcup {

/// Copies `text` into the caller's buffer, cut to its size.
inline void put_ffi_error(char* err, size_t* err_len,
                          std::string_view text) noexcept {
  *err_len = std::min(*err_len, text.size());
  std::memcpy(err, text.data(), *err_len);
}

/// Runs `body`, which gives a result<int>; an error or an exception becomes
/// ZEDCUP_FFI_ERROR with its text in the caller's buffer.
template <class F>
int ffi_call(char* err, size_t* err_len, F&& body) noexcept {
  try {
    result<int> done = body();
    if (done)
      return *done;
    put_ffi_error(err, err_len, done.error().message);
  } catch (const std::exception& problem) {
    put_ffi_error(err, err_len, problem.what());
  }
  return ZEDCUP_FFI_ERROR;
}

} // namespace zedcup
