#include "store/option_reader.hpp"

#include <charconv>

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

} // namespace

http_endpoint connection_options::endpoint(const server_address& at) const {
  http_endpoint made;
  made.tls = ssl;
  made.host = at.first;
  made.port = at.second;
  made.connect_timeout = connect_timeout;
  made.read_timeout = read_timeout;
  made.verify = ssl_verify;
  made.sni_host = sni_host;
  made.ca_cert = ca_cert;
  made.client_cert = client_cert;
  made.client_key = client_key;
  return made;
}

void option_reader::complain(const std::string& key,
                             const std::string& expected, const Value& got) {
  if (!failure_)
    failure_ = error{errc::invalid_argument, store_ + "." + key +
                                                 ": expected " + expected +
                                                 ", got " + json::show(got)};
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

std::optional<server_address> option_reader::address(const std::string& key,
                                                     std::string_view text,
                                                     uint16_t default_port,
                                                     const Value& value) {
  std::string_view rest = text;
  std::string_view host = rest;
  const auto fallback = std::to_string(default_port);
  std::string_view port = fallback;
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
  if (!host.empty() && number >= 1 && number <= 65535)
    return server_address(std::string(host), static_cast<uint16_t>(number));
  complain(key, "\"host:port\"", value);
  return std::nullopt;
}

std::string option_reader::host(const std::string& key, const Value& value) {
  auto host = text(key, value);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host.empty())
    complain(key, "a name or an address", value);
  return host;
}

bool option_reader::connection(const std::string& key, const Value& value,
                               connection_options& out) {
  constexpr uint64_t longest_ms = uint64_t{3600} * 1000;
  const std::pair<const char*, std::string*> texts[] = {
      {"sni_host", &out.sni_host},
      {"ca_cert", &out.ca_cert},
      {"client_cert", &out.client_cert},
      {"client_key", &out.client_key},
  };
  for (const auto& [name, target] : texts) {
    if (key == name) {
      *target = text(key, value);
      return true;
    }
  }
  if (key == "connect_timeout")
    out.connect_timeout =
        std::chrono::milliseconds(number(key, value, 1, longest_ms));
  else if (key == "read_timeout")
    out.read_timeout =
        std::chrono::milliseconds(number(key, value, 1, longest_ms));
  else if (key == "ssl")
    out.ssl = flag(key, value);
  else if (key == "ssl_verify")
    out.ssl_verify = flag(key, value);
  else
    return false;
  return true;
}

void option_reader::check(const connection_options& read) {
  if (!failure_ && read.client_cert.empty() != read.client_key.empty())
    failure_ =
        error{errc::invalid_argument,
              store_ + ".client_cert: expected together with client_key"};
}

} // namespace zedcup
