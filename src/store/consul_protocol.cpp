#include "store/consul_protocol.hpp"

#include <algorithm>
#include <charconv>

#include "store/consul_wire.hpp"
#include "store/json.hpp"
#include "util/base64.hpp"

namespace zedcup::consul {
namespace {

using rapidjson::Value;
using namespace wire;

target_builder tree_target(std::string_view prefix, read_mode mode) {
  auto target = kv_target(prefix);
  target.with("recurse");
  if (mode == read_mode::consistent)
    target.with("consistent");
  else if (mode == read_mode::stale)
    target.with("stale");
  return target;
}

std::optional<uint64_t> number_header(const http_response& answer,
                                      std::string_view name) {
  const auto text = answer.header(name);
  if (!text || text->empty())
    return std::nullopt;
  uint64_t number = 0;
  const auto* const end = text->data() + text->size();
  const auto [stop, problem] = std::from_chars(text->data(), end, number);
  if (problem != std::errc() || stop != end)
    return std::nullopt;
  return number;
}

bool header_is(const http_response& answer, std::string_view name,
               std::string_view value) {
  return answer.header(name) == value;
}

/// Index and health of a KV read, common to 200 and 404.
result<uint64_t> read_index(const http_response& answer) {
  if (answer.status != 200 && answer.status != 404)
    return refusal(answer);
  if (header_is(answer, "X-Consul-KnownLeader", "false"))
    return error{errc::unavailable, "consul: no known leader"};
  const auto index = number_header(answer, "X-Consul-Index");
  if (!index)
    return bad_answer("an answer without X-Consul-Index");
  if (answer.status == 404 &&
      header_is(answer, "X-Consul-Results-Filtered-By-ACLs", "true"))
    return error{errc::denied, "consul: the token may not read these keys"};
  return *index;
}

result<kv_entry> read_entry(const Value& item, std::string_view prefix) {
  const auto key = json::find_text(item, "Key");
  const auto modified = json::find_uint(item, "ModifyIndex");
  const auto* const value = json::find(item, "Value");
  if (!key || !modified || !value)
    return bad_answer("an entry without Key, Value or ModifyIndex");
  if (key->substr(0, prefix.size()) != prefix)
    return bad_answer("a key outside of the prefix: " + excerpt(*key));
  kv_entry entry;
  entry.key = *key;
  entry.modify_index = *modified;
  entry.flags = json::find_uint(item, "Flags").value_or(0);
  entry.session = json::find_text(item, "Session").value_or("");
  if (value->IsNull()) // how an empty value is written
    return entry;
  auto bytes =
      value->IsString() ? base64_decode(json::text_of(*value)) : std::nullopt;
  if (!bytes)
    return bad_answer("a value that is not base64, of " + excerpt(*key));
  entry.value = std::move(*bytes);
  return entry;
}

} // namespace

http_request read_tree(const consul_target& to, std::string_view prefix,
                       read_mode mode) {
  return tree_target(prefix, mode).request(to, http_method::get);
}

http_request blocking_read(const consul_target& to, std::string_view prefix,
                           uint64_t index, std::chrono::seconds wait,
                           read_mode mode) {
  if (index == 0)
    return read_tree(to, prefix, mode);
  wait = std::clamp(wait, std::chrono::seconds(1), max_wait);
  auto target = tree_target(prefix, mode);
  target.with("index", std::to_string(index));
  target.with("wait", std::to_string(wait.count()) + "s");
  auto request = target.request(to, http_method::get);
  // The server adds up to a sixteenth, so that its clients spread out.
  const std::chrono::milliseconds longest = wait;
  request.timeout = longest + longest / 16 + to.endpoint->connect_timeout +
                    to.endpoint->read_timeout;
  return request;
}

result<tree_answer> parse_tree(const http_response& answer,
                               std::string_view prefix) {
  const auto index = read_index(answer);
  if (!index)
    return index.error();
  tree_answer read;
  read.tree.revision = *index;
  read.missing = answer.status == 404;
  read.last_contact = std::chrono::milliseconds(
      number_header(answer, "X-Consul-LastContact").value_or(0));
  if (read.missing)
    return read;
  rapidjson::Document document;
  if (!json::parse(document, answer.body) || !document.IsArray() ||
      document.Empty())
    return bad_answer("200 without entries: " + excerpt(answer.body));
  for (const auto& item : document.GetArray()) {
    auto entry = read_entry(item, prefix);
    if (!entry)
      return entry.error();
    read.tree.entries.push_back(*std::move(entry));
  }
  std::sort(read.tree.entries.begin(), read.tree.entries.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  return read;
}

http_request list_keys(const consul_target& to, std::string_view prefix) {
  return kv_target(prefix).with("keys").request(to, http_method::get);
}

http_request list_folders(const consul_target& to, std::string_view prefix) {
  return kv_target(prefix)
      .with("keys")
      .with("separator", "/")
      .request(to, http_method::get);
}

result<key_list> parse_keys(const http_response& answer) {
  const auto index = read_index(answer);
  if (!index)
    return index.error();
  key_list all;
  all.revision = *index;
  if (answer.status == 404)
    return all;
  rapidjson::Document document;
  if (!json::parse(document, answer.body) || !document.IsArray())
    return bad_answer("no list of keys: " + excerpt(answer.body));
  for (const auto& item : document.GetArray()) {
    if (!item.IsString())
      return bad_answer("a key that is no text");
    all.keys.emplace_back(json::text_of(item));
  }
  return all;
}

} // namespace zedcup::consul
