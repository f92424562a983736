#include "peers/service.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "config/address.hpp"
#include "store/json.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

using rapidjson::Value;

constexpr uint32_t weight_max = 65535;
constexpr uint32_t slow_start_max = 86400;
constexpr size_t url_max = 2048;

std::optional<uint16_t> parse_port(std::string_view text) {
  unsigned port = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, failed] = std::from_chars(text.data(), end, port);
  if (failed != std::errc() || stop != end || port < 1 || port > 65535)
    return std::nullopt;
  return static_cast<uint16_t>(port);
}

/// The fields of one value, its own before those of its `Metadata`.
class field_reader {
public:
  field_reader(const std::string& key, const Value& root,
               std::vector<peer_complaint>& complaints)
      : key_(key), root_(root), complaints_(complaints) {
    if (const auto* metadata = json::find(root, "Metadata")) {
      if (metadata->IsObject())
        metadata_ = metadata;
      else if (!metadata->IsNull())
        complain("Metadata", "an object", *metadata);
    }
  }

  const Value* find(const char* name) const {
    const auto* found = json::find(root_, name);
    if ((found == nullptr || found->IsNull()) && metadata_ != nullptr)
      found = json::find(*metadata_, name);
    return found != nullptr && found->IsNull() ? nullptr : found;
  }

  /// A whole number, also as text or as 3.0: Lua writes some so.
  void number(const char* name, uint32_t most, uint32_t& out) {
    const auto* value = find(name);
    if (value == nullptr)
      return;
    const auto read = whole(*value);
    if (read && *read <= most)
      out = static_cast<uint32_t>(*read);
    else
      complain(name, "a number 0.." + std::to_string(most), *value);
  }

  void status(bool& up) {
    const auto* value = find("status");
    if (value == nullptr)
      return;
    const auto text = value->IsString() ? json::text_of(*value) : "";
    if (text == "up" || text == "down")
      up = text == "up";
    else
      complain("status", "\"up\" or \"down\"", *value);
  }

  void url(const char* name, std::string& out) {
    const auto* value = find(name);
    if (value == nullptr)
      return;
    if (value->IsString() && is_target(json::text_of(*value)))
      out = json::text_of(*value);
    else
      complain(name, "a path that begins with /", *value);
  }

private:
  static std::optional<uint64_t> whole(const Value& value) {
    if (value.IsUint64())
      return value.GetUint64();
    if (value.IsDouble()) {
      const double number = value.GetDouble();
      if (number >= 0 && number <= 1e9 &&
          number == static_cast<double>(static_cast<uint64_t>(number)))
        return static_cast<uint64_t>(number);
      return std::nullopt;
    }
    if (!value.IsString())
      return std::nullopt;
    const auto text = json::text_of(value);
    uint64_t number = 0;
    const auto* end = text.data() + text.size();
    const auto [stop, failed] = std::from_chars(text.data(), end, number);
    if (text.empty() || failed != std::errc() || stop != end)
      return std::nullopt;
    return number;
  }

  static bool is_target(std::string_view text) {
    return !text.empty() && text.front() == '/' && text.size() <= url_max &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return c > ' ' && c < 127; });
  }

  void complain(const char* name, const std::string& expected,
                const Value& got) {
    complaints_.push_back({key_, std::string(name) + ": expected " + expected +
                                     ", got " + json::show(got) +
                                     "; the default stays"});
  }

  const std::string& key_;
  const Value& root_;
  const Value* metadata_ = nullptr;
  std::vector<peer_complaint>& complaints_;
};

void read_fields(const std::string& key, std::string_view value, peer& out,
                 std::vector<peer_complaint>& complaints) {
  rapidjson::Document document;
  if (!json::parse(document, value) || !document.IsObject()) {
    complaints.push_back({key, "expected a JSON object, got " + quoted(value) +
                                   "; the defaults stay"});
    return;
  }
  field_reader fields(key, document, complaints);
  fields.number("weight", weight_max, out.weight);
  fields.status(out.up);
  fields.number("slow_start", slow_start_max, out.slow_start);
  fields.url("checkurl", out.check_url);
  fields.url("check_url", out.check_url);
}

} // namespace

std::string check_service_name(std::string_view name) {
  if (name.empty())
    return "a service without a name";
  for (const char c : name)
    if (static_cast<unsigned char>(c) < ' ' || c == 127)
      return "a control character in the service's name";
    else if (c == '|')
      return "\"|\" in the service's name, which separates names";
  if (name == "_allname" || name == "ready")
    return "a name that the shared dictionary needs";
  return {};
}

result<peer> decode_peer(const std::string& key, std::string_view address,
                         std::string_view value,
                         std::vector<peer_complaint>& complaints) {
  const auto bad = [&](const std::string& why) {
    return error{errc::invalid_argument, why};
  };
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos)
    return bad("expected host:port, got " + quoted(address));
  peer out;
  const auto port = parse_port(address.substr(colon + 1));
  if (!port)
    return bad("expected a port 1..65535 in " + quoted(address));
  const auto text = address.substr(0, colon);
  const bool bare_v6 = text.find(':') != std::string_view::npos &&
                       (text.front() != '[' || text.back() != ']');
  auto host =
      bare_v6 || is_unix_address(text) ? std::nullopt : normalise_address(text);
  if (!host)
    return bad("expected an IPv4 address, [IPv6] or a host name in " +
               quoted(address));
  out.host = std::move(*host);
  out.port = *port;
  if (!value.empty())
    read_fields(key, value, out, complaints);
  return out;
}

void carry_over(service& fresh, const service* before, double now) {
  if (before == nullptr)
    return;
  std::map<std::string, const peer*> known;
  for (const auto& old : before->peers)
    known.emplace(old.name(), &old);
  for (auto& one : fresh.peers) {
    const auto old = known.find(one.name());
    const bool was_up = old != known.end() && old->second->up;
    if (one.up)
      one.start_at = was_up ? old->second->start_at : now;
  }
}

std::string peers_json(const service& which) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  out.StartArray();
  for (const auto& one : which.peers) {
    out.StartObject();
    out.Key("host");
    json::put_text(out, one.host);
    out.Key("port");
    out.Uint(one.port);
    out.Key("weight");
    out.Uint(one.weight);
    out.Key("status");
    out.String(one.up ? "up" : "down");
    out.Key("slow_start");
    out.Uint(one.slow_start);
    out.Key("start_at");
    out.Double(one.start_at);
    for (const char* name : {"check_url", "checkurl"}) {
      out.Key(name);
      json::put_text(out, one.check_url);
    }
    out.EndObject();
  }
  out.EndArray();
  return {buffer.GetString(), buffer.GetSize()};
}

service service_from_json(std::string name, std::string_view text) {
  service out;
  out.name = std::move(name);
  rapidjson::Document document;
  if (!json::parse(document, text) || !document.IsArray())
    return out;
  std::vector<peer_complaint> ignored;
  for (const auto& item : document.GetArray()) {
    const auto host = json::find_text(item, "host");
    const auto port = json::find_uint(item, "port");
    if (!host || host->empty() || !port || *port < 1 || *port > 65535)
      continue;
    peer one;
    one.host = *host;
    one.port = static_cast<uint16_t>(*port);
    field_reader fields(out.name, item, ignored);
    fields.number("weight", weight_max, one.weight);
    fields.status(one.up);
    fields.number("slow_start", slow_start_max, one.slow_start);
    fields.url("check_url", one.check_url);
    const auto* start = json::find(item, "start_at");
    if (start != nullptr && start->IsNumber())
      one.start_at = start->GetDouble();
    out.peers.push_back(std::move(one));
  }
  return out;
}

} // namespace zedcup
