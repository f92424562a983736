#include "store/host_state.hpp"

#include <algorithm>
#include <limits>

#include "config/address.hpp"
#include "config/decode_fields.hpp"
#include "config/json_writer.hpp"
#include "config/tree.hpp"
#include "store/write_plan.hpp"

namespace zedcup {

namespace {

using verb = kv_op::verb;

constexpr uint32_t highest_count = std::numeric_limits<uint32_t>::max();

std::string below(std::string_view prefix, std::string_view kind,
                  std::string_view instance) {
  std::string key(prefix);
  key.append("/").append(kind).append("/").append(instance).append("/");
  return key;
}

uint32_t number_in(const std::optional<kv_entry>& entry) {
  if (!entry)
    return 0;
  return static_cast<uint32_t>(
      parse_integer(entry->value, 0, highest_count).value_or(0));
}

uint64_t index_of(const std::optional<kv_entry>& entry) {
  return entry ? entry->modify_index : 0;
}

kv_op make_op(verb what, std::string key, uint64_t index = 0) {
  kv_op op;
  op.what = what;
  op.key = std::move(key);
  op.index = index;
  return op;
}

/// Sets what was read, if it is still so (or still absent).
kv_op replace(std::string key, const std::optional<kv_entry>& old,
              std::string value, uint64_t flags) {
  auto op = make_op(verb::set_if, std::move(key), index_of(old));
  op.value = std::move(value);
  op.flags = flags;
  return op;
}

kv_op unchanged(std::string key, const std::optional<kv_entry>& entry) {
  return entry ? make_op(verb::check_index, std::move(key), index_of(entry))
               : make_op(verb::check_absent, std::move(key));
}

/// Whether `up` as it stands keeps the host down, and whose doing it is.
void judge_up(host_change& change, const host_reading& seen) {
  change.is_down = seen.up && seen.up->value == "false";
  change.by_operator = change.is_down && seen.up->flags != down_by_zedcup_flag;
}

/// The plain keys may be written: no redo record, and the same server is
/// still at this place.
void add_conditions(std::vector<kv_op>& ops, std::string_view prefix,
                    const host_ref& host, const host_reading& seen) {
  const auto at = host_config_prefix(prefix, host);
  ops.push_back(
      make_op(verb::check_absent, pending_key_of(prefix, host.instance)));
  ops.push_back(unchanged(at + "host", seen.address));
  ops.push_back(unchanged(at + "port", seen.port));
}

kv_op set_up(std::string_view prefix, const host_ref& host,
             const host_reading& seen, bool up) {
  return replace(host_config_prefix(prefix, host) + "up", seen.up,
                 up ? "true" : "false", up ? 0 : down_by_zedcup_flag);
}

void place(instance_state& state, std::string_view rest,
           const kv_entry& entry) {
  const auto first = rest.find('/');
  const auto second =
      first == std::string_view::npos ? first : rest.find('/', first + 1);
  if (second == std::string_view::npos)
    return;
  const auto pool = numeric_segment(rest.substr(0, first));
  const auto host = numeric_segment(rest.substr(first + 1, second - first - 1));
  const auto key = rest.substr(second + 1);
  if (!pool || !host || (key != "error_count" && key != "last_check"))
    return;
  auto& known = state[{*pool, *host}];
  if (key == "error_count") {
    known.error_count = number_in(entry);
    known.last_error = entry.flags;
  } else {
    known.last_check =
        parse_integer(entry.value, 0, std::numeric_limits<uint64_t>::max())
            .value_or(0);
    known.rises =
        static_cast<uint32_t>(std::min<uint64_t>(entry.flags, highest_count));
  }
}

} // namespace

std::string state_prefix(std::string_view prefix, std::string_view instance) {
  return below(prefix, "state", instance);
}

std::string host_state_prefix(std::string_view prefix, const host_ref& host) {
  return state_prefix(prefix, host.instance) + std::to_string(host.pool) + "/" +
         std::to_string(host.host) + "/";
}

std::string host_config_prefix(std::string_view prefix, const host_ref& host) {
  return below(prefix, "instances", host.instance) + "pools/" +
         std::to_string(host.pool) + "/hosts/" + std::to_string(host.host) +
         "/";
}

std::string pending_key_of(std::string_view prefix, std::string_view instance) {
  return below(prefix, "instances", instance) + std::string(pending_key);
}

std::string persist_key_of(std::string_view prefix, std::string_view instance) {
  return below(prefix, "instances", instance) + "persist_errors";
}

instance_state parse_state(std::string_view prefix, std::string_view instance,
                           const std::vector<kv_entry>& entries) {
  const auto head = state_prefix(prefix, instance);
  instance_state state;
  for (const auto& entry : entries)
    if (entry.key.compare(0, head.size(), head) == 0)
      place(state, std::string_view(entry.key).substr(head.size()), entry);
  return state;
}

std::string state_json(const instance_state& state) {
  json_writer out;
  out.begin_array();
  for (const auto& [place, known] : state) {
    out.begin_array();
    out.number(place.first);
    out.number(place.second);
    out.number(known.error_count);
    out.number(known.last_error);
    out.number(known.last_check);
    out.end_array();
  }
  out.end_array();
  return out.take();
}

void note_entry(host_reading& seen, std::string_view prefix,
                const host_ref& host, const kv_entry& entry) {
  const auto config = host_config_prefix(prefix, host);
  const auto state = host_state_prefix(prefix, host);
  if (entry.key == config + "host")
    seen.address = entry;
  else if (entry.key == config + "port")
    seen.port = entry;
  else if (entry.key == config + "up")
    seen.up = entry;
  else if (entry.key == state + "error_count")
    seen.error_count = entry;
  else if (entry.key == state + "last_check")
    seen.last_check = entry;
  else if (entry.key == pending_key_of(prefix, host.instance))
    seen.rewriting = true;
  else if (entry.key == persist_key_of(prefix, host.instance))
    seen.persist = entry.value != "false";
}

bool is_same_host(const host_reading& seen, const host_ref& host) {
  if (!seen.address)
    return false;
  const auto address = normalise_address(seen.address->value);
  if (!address || *address != host.address)
    return false;
  if (is_unix_address(*address))
    return true;
  return seen.port &&
         parse_integer(seen.port->value, 1, 65535) == uint64_t{host.port};
}

host_change plan_errors(std::string_view prefix, const host_ref& host,
                        const host_reading& seen, uint32_t count,
                        std::chrono::seconds window, uint32_t max_errors,
                        uint64_t now) {
  host_change change;
  judge_up(change, seen);
  uint64_t sum = count;
  const uint64_t last = seen.error_count ? seen.error_count->flags : 0;
  // (a clock behind the other nodes' sees errors of the future)
  if (last + static_cast<uint64_t>(window.count()) >= now)
    sum += number_in(seen.error_count);
  change.count = static_cast<uint32_t>(std::min<uint64_t>(sum, highest_count));
  add_conditions(change.ops, prefix, host, seen);
  change.ops.push_back(replace(host_state_prefix(prefix, host) + "error_count",
                               seen.error_count, std::to_string(change.count),
                               now));
  if (max_errors != 0 && change.count >= max_errors && !change.is_down) {
    change.went_down = true;
    change.ops.push_back(set_up(prefix, host, seen, false));
  }
  return change;
}

host_change plan_reset(std::string_view prefix, const host_ref& host,
                       const host_reading& seen) {
  host_change change;
  judge_up(change, seen);
  if (seen.error_count)
    change.ops.push_back(
        make_op(verb::remove, host_state_prefix(prefix, host) + "error_count"));
  return change;
}

host_change plan_checked(std::string_view prefix, const host_ref& host,
                         const host_reading& seen, uint64_t now) {
  host_change change;
  judge_up(change, seen);
  add_conditions(change.ops, prefix, host, seen);
  change.ops.push_back(replace(host_state_prefix(prefix, host) + "last_check",
                               seen.last_check, std::to_string(now),
                               seen.last_check ? seen.last_check->flags : 0));
  return change;
}

host_change plan_down(std::string_view prefix, const host_ref& host,
                      const host_reading& seen) {
  host_change change;
  judge_up(change, seen);
  change.count = number_in(seen.error_count);
  if (change.is_down)
    return change;
  change.went_down = true;
  add_conditions(change.ops, prefix, host, seen);
  change.ops.push_back(set_up(prefix, host, seen, false));
  return change;
}

host_change plan_up(std::string_view prefix, const host_ref& host,
                    const host_reading& seen) {
  host_change change;
  judge_up(change, seen);
  if (!change.is_down || change.by_operator)
    return change;
  const auto state = host_state_prefix(prefix, host);
  change.went_up = true;
  add_conditions(change.ops, prefix, host, seen);
  change.ops.push_back(set_up(prefix, host, seen, true));
  change.ops.push_back(make_op(verb::remove, state + "error_count"));
  if (seen.last_check && seen.last_check->flags != 0)
    change.ops.push_back(replace(state + "last_check", seen.last_check,
                                 seen.last_check->value, 0));
  return change;
}

} // namespace zedcup
