// Untyped tree -> typed configuration, with every complaint named by its key.
// One decoder serves the store (lenient: drop what is bad, keep the rest) and
// configure_instance (strict: any complaint refuses the write). Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model.hpp"

namespace zedcup {

/// One complaint about one key.
struct diagnostic {
  enum class level {
    error,  ///< the host or key was left out
    notice, ///< kept, but worth a word (an unknown key)
  };
  level severity = level::error;
  std::string path;    ///< below the instance: "pools/1/hosts/2/port"
  std::string message; ///< `expected 1..65535, got "abc"`
};

/// "pools/1/hosts/2/port" -> "pools[1].hosts[2].port", as Lua users write it.
std::string lua_path(std::string_view path);

/// A decoded instance and what was wrong with it. `value` is nullopt when
/// nothing usable is left although something was configured: the caller then
/// keeps its last good one. An instance without pools or hosts, and without
/// complaints, is a valid empty instance.
template <class T>
struct decoded {
  std::optional<T> value;
  std::vector<diagnostic> diagnostics;

  bool clean() const {
    for (const auto& d : diagnostics)
      if (d.severity == diagnostic::level::error)
        return false;
    return value.has_value();
  }
};

/// Rules: a bad key of a host drops the host; a bad key of a pool or of the
/// instance takes its default, but a bad `ssl` means TLS with verification,
/// never plain TCP; a bad segment under pools/ or hosts/ is left
/// out. Keys that start with "_" are ours (`_idx`, `_pending`) and skipped,
/// except that `_idx` in a list element gives its index (an element without
/// one whose place is taken goes behind the last) and `_down_by_zedcup` stands
/// for the Flags that JSON cannot carry. `status_codes` may be a list, a set
/// (`{"5xx": true}`) or false (none); a bad pattern in it is left out, and
/// nothing but bad patterns takes the default.
/// Numbers are decimal integers, white space around them is ignored (`echo 80
/// | consul kv put`); booleans are exactly true or false. A value beside keys
/// below it is a complaint unless it is empty; tables win where a table may
/// be. Empty tables, which no store can hold, count as absent, except that
/// an empty `status_codes` means none. Names and unknown keys keep their text,
/// as UTF-8. Quoted values in messages are cut at 64 bytes and made printable,
/// and after 100 complaints a last one counts the rest.
decoded<instance_config> decode_instance(std::string name, const tree& root);

decoded<global_config> decode_global(const tree& root);

/// An instance name: 1..128 printable ASCII bytes without '/', not beginning
/// with "_".
/// @returns an empty string when valid, else what is wrong.
std::string check_instance_name(std::string_view name);

/// The configuration with defaults as Lua users see it, and as other workers
/// decode it again: decode_instance(name, tree_from_json(to_json(x))) equals
/// x. `pools` and `hosts` are arrays whose elements carry `_idx`;
/// `status_codes` is an object {"5xx": true}; unknown keys are kept.
std::string to_json(const instance_config& instance);
std::string to_json(const global_config& config);

/// The `<name>|peers` content of the shared dict: a JSON array of
/// {"host","port","weight","status":"up"|"down","pool","name"}.
std::string peers_json(const instance_config& instance);

/// A JSON array of strings, whatever they look like ("1", "true").
std::string names_json(const std::vector<std::string>& names);

} // namespace zedcup
