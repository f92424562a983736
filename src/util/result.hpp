// A value or an error: what every fallible function of src/ returns.
// Plain data, usable on any thread. Exceptions are for bugs only.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace zedcup {

/// Why something failed; the message beside it is for people.
enum class errc {
  invalid_argument, ///< a caller or an operator gave something unusable
  bad_answer,       ///< a store or a peer answered something unreadable
  not_found,        ///< the thing named does not exist
  conflict,         ///< a compare-and-set lost against another writer
  unavailable,      ///< no connection, 5xx, no leader: worth trying again
  denied,           ///< the store refuses these credentials
  timed_out,        ///< no answer within the bound
  too_large,        ///< beyond a limit of the store or the zone
  exhausted,        ///< this process is out of descriptors or memory
  cancelled,        ///< given up by its owner, or shutting down
};

/// Short lower-case name of a code, for logs ("timed_out").
constexpr const char* to_string(errc code) noexcept {
  switch (code) {
  case errc::invalid_argument:
    return "invalid_argument";
  case errc::bad_answer:
    return "bad_answer";
  case errc::not_found:
    return "not_found";
  case errc::conflict:
    return "conflict";
  case errc::unavailable:
    return "unavailable";
  case errc::denied:
    return "denied";
  case errc::timed_out:
    return "timed_out";
  case errc::too_large:
    return "too_large";
  case errc::exhausted:
    return "exhausted";
  case errc::cancelled:
    return "cancelled";
  }
  return "unknown";
}

struct error {
  errc code = errc::invalid_argument;
  std::string message;
};

/// Either a `T` or an `error`. Test with `if (r)`, then `*r` or `r.error()`.
template <class T>
class [[nodiscard]] result {
public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  result(zedcup::error failure)
      : state_(std::in_place_index<1>, std::move(failure)) {}

  explicit operator bool() const noexcept { return state_.index() == 0; }

  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }

  const zedcup::error& error() const { return std::get<1>(state_); }

private:
  std::variant<T, zedcup::error> state_;
};

/// For functions that only succeed or fail.
struct ok_t {};
using status = result<ok_t>;
inline status success() {
  return ok_t{};
}

} // namespace zedcup
