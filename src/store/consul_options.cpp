#include "store/consul_options.hpp"

#include <charconv>

#include "store/json.hpp"

namespace zedcup {
namespace {

using rapidjson::Value;

std::optional<uint64_t> number_in(std::string_view text) {
  uint64_t number = 0;
  const auto* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc() || stop != end || text.empty())
    return std::nullopt;
  return number;
}

/// Fills a consul_options from the members of an object. Keeps the first
/// complaint; what follows it is of no interest.
class option_reader {
public:
  result<consul_options> read(const Value& table);

private:
  void member(const std::string& key, const Value& value);
  bool text_member(const std::string& key, const Value& value);
  void default_args(const Value& value);
  void stale(const Value& value);
  void addresses(const Value& value);
  void address(const std::string& key, const Value& value);

  std::string text(const std::string& key, const Value& value);
  bool flag(const std::string& key, const Value& value);
  uint64_t number(const std::string& key, const Value& value, uint64_t least,
                  uint64_t most);
  void complain(const std::string& key, const std::string& expected,
                const Value& got);

  consul_options options_;
  bool has_addresses_ = false;
  std::optional<error> failure_;
};

void option_reader::complain(const std::string& key,
                             const std::string& expected, const Value& got) {
  if (!failure_)
    failure_ = error{errc::invalid_argument, "consul." + key + ": expected " +
                                                 expected + ", got " +
                                                 json::show(got)};
}

std::string option_reader::text(const std::string& key, const Value& value) {
  if (value.IsString()) {
    const auto got = json::text_of(value);
    const bool clean = got.find_first_of(std::string_view("\r\n\0", 3)) ==
                       std::string_view::npos;
    if (clean)
      return std::string(got);
  }
  complain(key, "text", value);
  return {};
}

bool option_reader::flag(const std::string& key, const Value& value) {
  if (value.IsBool())
    return value.GetBool();
  if (value.IsString() && json::text_of(value) == "true")
    return true;
  if (value.IsString() && json::text_of(value) == "false")
    return false;
  complain(key, "true or false", value);
  return false;
}

/// A whole number, also as text ("8500") or as Lua writes some (8500.0).
uint64_t option_reader::number(const std::string& key, const Value& value,
                               uint64_t least, uint64_t most) {
  std::optional<uint64_t> got;
  if (value.IsUint64()) {
    got = value.GetUint64();
  } else if (value.IsDouble()) {
    const double real = value.GetDouble();
    if (real >= 0 && real <= 1e15 &&
        real == static_cast<double>(static_cast<uint64_t>(real)))
      got = static_cast<uint64_t>(real);
  } else if (value.IsString()) {
    got = number_in(json::text_of(value));
  }
  if (got && *got >= least && *got <= most)
    return *got;
  complain(key, std::to_string(least) + ".." + std::to_string(most), value);
  return least;
}

void option_reader::default_args(const Value& value) {
  if (!value.IsObject()) {
    // An empty Lua table may arrive as an empty list.
    if (!value.IsArray() || !value.Empty())
      complain("default_args", "a table", value);
    return;
  }
  for (const auto& [name, arg] : value.GetObject()) {
    const auto key = std::string(json::text_of(name));
    if (key == "token")
      options_.token = text("default_args.token", arg);
    else if (key == "dc")
      options_.datacenter = text("default_args.dc", arg);
    else
      options_.notices.push_back("consul.default_args." + key +
                                 ": not used here");
  }
}

void option_reader::stale(const Value& value) {
  constexpr uint64_t default_age = 10;
  constexpr uint64_t most = 86400;
  if (value.IsObject()) {
    const auto* const age = json::find(value, "max_age");
    options_.stale_max_age = std::chrono::seconds(
        age ? number("stale.max_age", *age, 1, most) : default_age);
  } else if (flag("stale", value)) {
    options_.stale_max_age = std::chrono::seconds(default_age);
  }
}

void option_reader::addresses(const Value& value) {
  if (value.IsArray() && !value.Empty()) {
    has_addresses_ = true;
    options_.addresses.clear();
    unsigned index = 0;
    for (const auto& item : value.GetArray())
      address("addresses[" + std::to_string(++index) + "]", item);
    return;
  }
  complain("addresses", "a list of \"host:port\"", value);
}

void option_reader::address(const std::string& key, const Value& value) {
  std::string_view rest =
      value.IsString() ? json::text_of(value) : std::string_view();
  std::string_view host = rest;
  std::string_view port = "8500";
  if (!rest.empty() && rest.front() == '[') { // [v6] or [v6]:port
    const auto end = rest.find(']');
    host = rest.substr(1, end == rest.npos ? 0 : end - 1);
    rest = end == rest.npos ? "" : rest.substr(end + 1);
    if (!rest.empty())
      port = rest.front() == ':' ? rest.substr(1) : std::string_view();
  } else if (rest.find(':') == rest.rfind(':') && rest.find(':') != rest.npos) {
    host = rest.substr(0, rest.find(':'));
    port = rest.substr(rest.find(':') + 1);
  }
  const auto number = number_in(port).value_or(0);
  if (host.empty() || number < 1 || number > 65535)
    return complain(key, "\"host:port\"", value);
  options_.addresses.emplace_back(std::string(host),
                                  static_cast<uint16_t>(number));
}

bool option_reader::text_member(const std::string& key, const Value& value) {
  const std::pair<const char*, std::string*> members[] = {
      {"sni_host", &options_.sni_host},
      {"ca_cert", &options_.ca_cert},
      {"client_cert", &options_.client_cert},
      {"client_key", &options_.client_key},
      {"token", &options_.token},
      {"datacenter", &options_.datacenter},
  };
  for (const auto& [name, target] : members) {
    if (key == name) {
      *target = text(key, value);
      return true;
    }
  }
  return false;
}

void option_reader::member(const std::string& key, const Value& value) {
  constexpr uint64_t longest_ms = uint64_t{3600} * 1000;
  const auto milliseconds = [&] {
    return std::chrono::milliseconds(number(key, value, 1, longest_ms));
  };
  if (value.IsNull() || text_member(key, value))
    return;
  if (key == "host") {
    auto host = text(key, value);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
      host = host.substr(1, host.size() - 2);
    if (host.empty())
      return complain(key, "a name or an address", value);
    if (!has_addresses_)
      options_.addresses.front().first = host;
  } else if (key == "port") {
    const auto port = static_cast<uint16_t>(number(key, value, 1, 65535));
    if (!has_addresses_)
      options_.addresses.front().second = port;
  } else if (key == "connect_timeout") {
    options_.connect_timeout = milliseconds();
  } else if (key == "read_timeout") {
    options_.read_timeout = milliseconds();
  } else if (key == "ssl") {
    options_.ssl = flag(key, value);
  } else if (key == "ssl_verify") {
    options_.ssl_verify = flag(key, value);
  } else if (key == "max_txn_ops") {
    options_.limits.max_ops = number(key, value, 4, 4096);
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

result<consul_options> option_reader::read(const Value& table) {
  if (!table.IsObject() && !(table.IsArray() && table.Empty()))
    return error{errc::invalid_argument,
                 "consul: expected a table, got " + json::show(table)};
  if (table.IsObject())
    for (const auto& [name, value] : table.GetObject())
      member(std::string(json::text_of(name)), value);
  if (failure_)
    return *failure_;
  if (options_.client_cert.empty() != options_.client_key.empty())
    return error{errc::invalid_argument,
                 "consul.client_cert: expected together with client_key"};
  return std::move(options_);
}

} // namespace

result<consul_options> parse_consul_options(std::string_view text) {
  if (text.empty())
    return consul_options{};
  rapidjson::Document document;
  if (!json::parse(document, text))
    return error{errc::invalid_argument,
                 "consul: not JSON, at byte " +
                     std::to_string(document.GetErrorOffset())};
  return option_reader().read(document);
}

std::vector<consul_target> consul_targets(const consul_options& options) {
  std::vector<consul_target> targets;
  for (const auto& [host, port] : options.addresses) {
    http_endpoint endpoint;
    endpoint.tls = options.ssl;
    endpoint.host = host;
    endpoint.port = port;
    endpoint.connect_timeout = options.connect_timeout;
    endpoint.read_timeout = options.read_timeout;
    endpoint.verify = options.ssl_verify;
    endpoint.sni_host = options.sni_host;
    endpoint.ca_cert = options.ca_cert;
    endpoint.client_cert = options.client_cert;
    endpoint.client_key = options.client_key;
    if (!options.token.empty())
      endpoint.headers.emplace_back("X-Consul-Token", options.token);
    targets.push_back(
        {std::make_shared<const http_endpoint>(std::move(endpoint)),
         options.datacenter});
  }
  return targets;
}

} // namespace zedcup
