#include "health/check_state.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "config/tree.hpp"

namespace zedcup {

namespace {

/// The text up to the next "/", which is removed too.
std::string_view take_segment(std::string_view& rest) {
  const auto slash = std::min(rest.find('/'), rest.size());
  const auto segment = rest.substr(0, slash);
  rest.remove_prefix(std::min(slash + 1, rest.size()));
  return segment;
}

int64_t unix_time(std::string_view text) {
  int64_t value = 0;
  // Whole seconds; a fraction, which a Lua node might write, is cut.
  std::from_chars(text.data(), text.data() + text.size(), value);
  return std::max<int64_t>(value, 0);
}

template <class Number>
Number bounded(uint64_t value) {
  constexpr auto highest =
      static_cast<uint64_t>(std::numeric_limits<Number>::max());
  return static_cast<Number>(std::min(value, highest));
}

} // namespace

std::map<host_place, check_state> read_check_states(const kv_tree& tree,
                                                    std::string_view prefix) {
  std::map<host_place, check_state> states;
  for (const auto& entry : tree.entries) {
    std::string_view rest = entry.key;
    if (rest.substr(0, prefix.size()) != prefix)
      continue;
    rest.remove_prefix(prefix.size());
    const auto instance = take_segment(rest);
    const auto pool = numeric_segment(take_segment(rest));
    const auto host = numeric_segment(take_segment(rest));
    if (!pool || !host || (rest != "last_check" && rest != "error_count"))
      continue;
    auto& state = states[{std::string(instance), *pool, *host}];
    if (rest == "last_check") {
      state.last_check = unix_time(entry.value);
      state.good = bounded<uint32_t>(entry.flags);
    } else {
      state.last_error = bounded<int64_t>(entry.flags);
    }
  }
  return states;
}

kv_op write_last_check(std::string_view prefix, const host_ref& host,
                       int64_t unix_time, uint32_t good) {
  kv_op op;
  op.key = std::string(prefix) + host.instance + "/" +
           std::to_string(host.pool) + "/" + std::to_string(host.host) +
           "/last_check";
  op.value = std::to_string(unix_time);
  op.flags = good;
  return op;
}

} // namespace zedcup
