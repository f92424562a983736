#include "store/consul_wire.hpp"

#include <algorithm>

namespace zedcup::consul::wire {

target_builder& target_builder::with(std::string_view name,
                                     std::string_view value) {
  text_ += has_query_ ? '&' : '?';
  has_query_ = true;
  text_ += name;
  if (!value.empty())
    text_ += '=' + percent_encode(value, false);
  return *this;
}

http_request target_builder::request(const consul_target& to,
                                     http_method method) {
  if (!to.datacenter.empty())
    with("dc", to.datacenter);
  http_request made;
  made.endpoint = to.endpoint;
  made.method = method;
  made.target = std::move(text_);
  return made;
}

target_builder kv_target(std::string_view key) {
  return target_builder("/v1/kv/" + percent_encode(key, true));
}

std::string excerpt(std::string_view body) {
  std::string text(body.substr(0, std::min<size_t>(body.find('\n'), 200)));
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < 0x20)
      c = '?';
  return text;
}

bool mentions(std::string_view body, std::string_view words) {
  return body.find(words) != std::string_view::npos;
}

bool is_acl_text(std::string_view body) {
  return mentions(body, "Permission denied") || mentions(body, "ACL not found");
}

error bad_answer(const std::string& text) {
  return {errc::bad_answer, "consul: " + text};
}

error refusal(const http_response& answer) {
  auto code = errc::bad_answer;
  if (answer.status == 401 || answer.status == 403 ||
      (answer.status >= 500 && is_acl_text(answer.body)))
    code = errc::denied;
  else if (answer.status == 413)
    code = errc::too_large;
  else if (answer.status == 429 || answer.status >= 500)
    code = errc::unavailable;
  else if (answer.status == 400)
    code = errc::invalid_argument;
  return {code, "consul: " + std::to_string(answer.status) + ": " +
                    excerpt(answer.body)};
}

} // namespace zedcup::consul::wire
