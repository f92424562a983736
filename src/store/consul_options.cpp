#include "store/consul_options.hpp"

namespace zedcup {
namespace {

using rapidjson::Value;

/// Fills a consul_options, member by member.
class consul_reader {
public:
  void member(const std::string& key, const Value& value);
  result<consul_options> finish();

private:
  void default_args(const Value& value);
  void stale(const Value& value);
  void addresses(const Value& value);

  consul_options options_;
  option_reader reader_{"consul"};
  bool has_addresses_ = false;
};

void consul_reader::default_args(const Value& value) {
  if (!value.IsObject()) {
    // An empty Lua table may arrive as an empty list.
    if (!value.IsArray() || !value.Empty())
      reader_.complain("default_args", "a table", value);
    return;
  }
  for (const auto& [name, arg] : value.GetObject()) {
    const auto key = std::string(json::text_of(name));
    if (key == "token")
      options_.token = reader_.text("default_args.token", arg);
    else if (key == "dc")
      options_.datacenter = reader_.text("default_args.dc", arg);
    else
      options_.notices.push_back("consul.default_args." + key +
                                 ": not used here");
  }
}

void consul_reader::stale(const Value& value) {
  constexpr uint64_t default_age = 10;
  constexpr uint64_t most = 86400;
  if (value.IsObject()) {
    const auto* const age = json::find(value, "max_age");
    options_.stale_max_age = std::chrono::seconds(
        age ? reader_.number("stale.max_age", *age, 1, most) : default_age);
  } else if (reader_.flag("stale", value)) {
    options_.stale_max_age = std::chrono::seconds(default_age);
  }
}

void consul_reader::addresses(const Value& value) {
  if (!value.IsArray() || value.Empty())
    return reader_.complain("addresses", "a list of \"host:port\"", value);
  has_addresses_ = true;
  options_.addresses.clear();
  unsigned index = 0;
  for (const auto& item : value.GetArray()) {
    const auto text =
        item.IsString() ? json::text_of(item) : std::string_view();
    const auto at = reader_.address(
        "addresses[" + std::to_string(++index) + "]", text, 8500, item);
    if (at)
      options_.addresses.push_back(*at);
  }
}

void consul_reader::member(const std::string& key, const Value& value) {
  if (reader_.connection(key, value, options_))
    return;
  if (key == "host") {
    auto host = reader_.host(key, value);
    if (!has_addresses_)
      options_.addresses.front().first = std::move(host);
  } else if (key == "port") {
    const auto port =
        static_cast<uint16_t>(reader_.number(key, value, 1, 65535));
    if (!has_addresses_)
      options_.addresses.front().second = port;
  } else if (key == "token") {
    options_.token = reader_.text(key, value);
  } else if (key == "datacenter") {
    options_.datacenter = reader_.text(key, value);
  } else if (key == "max_txn_ops") {
    options_.limits.max_ops = reader_.number(key, value, 4, 4096);
  } else if (key == "default_args") {
    default_args(value);
  } else if (key == "stale") {
    stale(value);
  } else if (key == "addresses") {
    addresses(value);
  } else {
    options_.notices.push_back("consul." + key + ": unknown option");
  }
}

result<consul_options> consul_reader::finish() {
  reader_.check(options_);
  if (reader_.failure())
    return *reader_.failure();
  return std::move(options_);
}

} // namespace

result<consul_options> parse_consul_options(std::string_view text) {
  consul_reader reader;
  auto read = each_option("consul", text, [&](const std::string& key, auto& v) {
    reader.member(key, v);
  });
  if (!read)
    return read.error();
  return reader.finish();
}

std::vector<consul_target> consul_targets(const consul_options& options) {
  std::vector<consul_target> targets;
  for (const auto& address : options.addresses) {
    auto endpoint = options.endpoint(address);
    if (!options.token.empty())
      endpoint.headers.emplace_back("X-Consul-Token", options.token);
    targets.push_back(
        {std::make_shared<const http_endpoint>(std::move(endpoint)),
         options.datacenter});
  }
  return targets;
}

} // namespace zedcup
