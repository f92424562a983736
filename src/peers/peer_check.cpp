#include "peers/peer_check.hpp"

#include "store/json.hpp"
#include "store/option_reader.hpp"

namespace zedcup {

namespace {

using rapidjson::Value;

void read_ok_status(option_reader& reader, const Value& value,
                    std::set<int>& out) {
  if (!value.IsArray() || value.Empty())
    return reader.complain("ok_status", "a list of statuses", value);
  out.clear();
  unsigned index = 0;
  for (const auto& item : value.GetArray())
    out.insert(static_cast<int>(reader.number(
        "ok_status[" + std::to_string(++index) + "]", item, 100, 599)));
}

/// Adds the pattern of a block of statuses, or those of its parts.
void add_block(const std::set<int>& good, int first, int size,
               std::set<std::string>& out) {
  const auto inside = good.lower_bound(first);
  if (inside == good.end() || *inside >= first + size) {
    auto text = std::to_string(first);
    text.replace(size == 100  ? 1
                 : size == 10 ? 2
                              : 3,
                 std::string::npos,
                 size == 100  ? "xx"
                 : size == 10 ? "x"
                              : "");
    out.insert(std::move(text));
    return;
  }
  if (size == 1)
    return;
  for (int at = first; at < first + size; at += size / 10)
    add_block(good, at, size / 10, out);
}

} // namespace

result<peer_checks> parse_peer_checks(std::string_view text) {
  peer_checks out;
  option_reader reader("health");
  const auto number = [&](const std::string& key, const Value& value,
                          uint64_t most) {
    return reader.number(key, value, 1, most);
  };
  auto read =
      each_option("health", text, [&](const std::string& key, const Value& v) {
        if (key == "interval")
          out.interval = std::chrono::seconds{number(key, v, 86400)};
        else if (key == "timeout")
          out.timeout = std::chrono::milliseconds{number(key, v, 3600000)};
        else if (key == "max_fails")
          out.max_fails = static_cast<uint32_t>(number(key, v, 1000000));
        else if (key == "min_rises")
          out.min_rises = static_cast<uint32_t>(number(key, v, 1000000));
        else if (key == "ok_status")
          read_ok_status(reader, v, out.ok_status);
        else
          reader.complain(key,
                          "one of interval, timeout, max_fails, "
                          "min_rises, ok_status",
                          v);
      });
  if (!read)
    return read.error();
  if (reader.failure())
    return *reader.failure();
  return out;
}

std::set<std::string> all_but(const std::set<int>& good) {
  std::set<std::string> out;
  for (int family = 100; family < 600; family += 100)
    add_block(good, family, 100, out);
  return out;
}

std::shared_ptr<const probe>
make_peer_probe(const std::string& service, const peer& which,
                const peer_checks& how,
                const std::set<std::string>& bad_statuses) {
  instance_config instance;
  instance.name = service;
  healthcheck_config check;
  check.interval = how.interval;
  check.path = which.check_url;
  check.status_codes = bad_statuses;
  check.timeout = how.timeout;
  check.read_timeout = how.timeout;
  pool_config pool;
  pool.healthcheck = std::move(check);
  host_config host;
  host.address = which.host;
  host.port = which.port;
  return make_probe(instance, pool, host);
}

} // namespace zedcup
