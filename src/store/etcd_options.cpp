#include "store/etcd_options.hpp"

namespace zedcup {
namespace {

using rapidjson::Value;

constexpr uint16_t default_port = 2379;

/// Fills an etcd_options, member by member.
class etcd_reader {
public:
  void member(const std::string& key, const Value& value);
  result<etcd_options> finish();

private:
  void endpoints(const Value& value);
  void endpoint(const std::string& key, const Value& value);

  etcd_options options_;
  option_reader reader_{"etcd"};
  bool has_endpoints_ = false;
};

void etcd_reader::endpoints(const Value& value) {
  if (!value.IsArray() || value.Empty())
    return reader_.complain("endpoints", "a list of \"host:port\"", value);
  has_endpoints_ = true;
  options_.addresses.clear();
  unsigned index = 0;
  for (const auto& item : value.GetArray())
    endpoint("endpoints[" + std::to_string(++index) + "]", item);
}

void etcd_reader::endpoint(const std::string& key, const Value& value) {
  auto text = value.IsString() ? json::text_of(value) : std::string_view();
  const auto starts_with = [&](std::string_view head) {
    return text.substr(0, head.size()) == head;
  };
  if (starts_with("https://")) {
    options_.ssl = true;
    text.remove_prefix(8);
  } else if (starts_with("http://")) {
    text.remove_prefix(7);
  }
  if (!text.empty() && text.back() == '/')
    text.remove_suffix(1);
  if (const auto at = reader_.address(key, text, default_port, value))
    options_.addresses.push_back(*at);
}

void etcd_reader::member(const std::string& key, const Value& value) {
  if (reader_.connection(key, value, options_))
    return;
  if (key == "host") {
    auto host = reader_.host(key, value);
    if (!has_endpoints_)
      options_.addresses.front().first = std::move(host);
  } else if (key == "port") {
    const auto port =
        static_cast<uint16_t>(reader_.number(key, value, 1, 65535));
    if (!has_endpoints_)
      options_.addresses.front().second = port;
  } else if (key == "endpoints") {
    endpoints(value);
  } else if (key == "user") {
    options_.user = reader_.text(key, value);
  } else if (key == "password") {
    options_.password = reader_.text(key, value);
  } else if (key == "max_txn_ops") {
    options_.max_txn_ops = reader_.number(key, value, 16, 8192);
  } else if (key == "api") {
    const auto name = value.IsString() ? json::text_of(value) : "";
    if (name != "v2" && name != "v3")
      reader_.complain(key, "\"v2\" or \"v3\"", value);
    options_.v2 = name == "v2";
  } else {
    options_.notices.push_back("etcd." + key + ": unknown option");
  }
}

result<etcd_options> etcd_reader::finish() {
  reader_.check(options_);
  if (reader_.failure())
    return *reader_.failure();
  if (options_.user.empty() != options_.password.empty())
    return error{errc::invalid_argument,
                 "etcd.user: expected together with password"};
  return std::move(options_);
}

} // namespace

result<etcd_options> parse_etcd_options(std::string_view text) {
  etcd_reader reader;
  auto read = each_option("etcd", text, [&](const std::string& key, auto& v) {
    reader.member(key, v);
  });
  if (!read)
    return read.error();
  return reader.finish();
}

etcd_endpoints make_endpoints(const etcd_options& options) {
  etcd_endpoints made;
  for (const auto& address : options.addresses)
    made.push_back(
        std::make_shared<const http_endpoint>(options.endpoint(address)));
  return made;
}

} // namespace zedcup
