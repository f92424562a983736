// The part of consul_protocol.hpp about sessions and the keys they hold.
#include "store/consul_protocol.hpp"
#include "store/consul_wire.hpp"
#include "store/json.hpp"

namespace zedcup::consul {
namespace {

using namespace wire;

std::string milliseconds(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + "ms";
}

} // namespace

http_request create_session(const consul_target& to,
                            const session_options& options) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  const auto member = [&out](const char* name, const std::string& text) {
    out.Key(name);
    json::put_text(out, text);
  };
  out.StartObject();
  member("Name", options.name);
  member("TTL", milliseconds(options.ttl));
  member("Behavior", options.delete_keys ? "delete" : "release");
  member("LockDelay", milliseconds(options.lock_delay));
  out.EndObject();
  auto request =
      target_builder("/v1/session/create").request(to, http_method::put);
  request.body.assign(buffer.GetString(), buffer.GetSize());
  return request;
}

result<std::string> parse_session_id(const http_response& answer) {
  if (answer.status != 200)
    return refusal(answer);
  rapidjson::Document document;
  if (json::parse(document, answer.body))
    if (const auto id = json::find_text(document, "ID"); id && !id->empty())
      return std::string(*id);
  return bad_answer("a session without ID: " + excerpt(answer.body));
}

http_request renew_session(const consul_target& to, std::string_view id) {
  return target_builder("/v1/session/renew/" + percent_encode(id, false))
      .request(to, http_method::put);
}

status parse_renewal(const http_response& answer) {
  if (answer.status == 404)
    return error{errc::not_found, "consul: " + excerpt(answer.body)};
  if (answer.status != 200)
    return refusal(answer);
  return success();
}

http_request destroy_session(const consul_target& to, std::string_view id) {
  return target_builder("/v1/session/destroy/" + percent_encode(id, false))
      .request(to, http_method::put);
}

http_request list_sessions(const consul_target& to) {
  return target_builder("/v1/session/list").request(to, http_method::get);
}

result<std::vector<session_info>> parse_sessions(const http_response& answer) {
  if (answer.status != 200)
    return refusal(answer);
  rapidjson::Document document;
  if (!json::parse(document, answer.body) || !document.IsArray())
    return bad_answer("no list of sessions: " + excerpt(answer.body));
  std::vector<session_info> sessions;
  for (const auto& item : document.GetArray()) {
    const auto id = json::find_text(item, "ID");
    if (!id)
      return bad_answer("a session without ID");
    sessions.push_back(
        {std::string(*id),
         std::string(json::find_text(item, "Name").value_or("")),
         std::string(json::find_text(item, "Node").value_or(""))});
  }
  return sessions;
}

http_request acquire(const consul_target& to, std::string_view key,
                     std::string_view value, std::string_view session) {
  auto request =
      kv_target(key).with("acquire", session).request(to, http_method::put);
  request.body = value;
  return request;
}

http_request release(const consul_target& to, std::string_view key,
                     std::string_view value, std::string_view session) {
  auto request =
      kv_target(key).with("release", session).request(to, http_method::put);
  request.body = value;
  return request;
}

result<bool> parse_flag(const http_response& answer) {
  if (answer.status >= 500 && mentions(answer.body, "invalid session"))
    return error{errc::not_found, "consul: " + excerpt(answer.body)};
  if (answer.status != 200)
    return refusal(answer);
  const auto text = std::string_view(answer.body)
                        .substr(0, answer.body.find_last_not_of(" \r\n") + 1);
  if (text == "true" || text == "false")
    return text == "true";
  return bad_answer("neither true nor false: " + excerpt(answer.body));
}

} // namespace zedcup::consul
