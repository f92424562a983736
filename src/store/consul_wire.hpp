// What the parts of Consul's protocol share: targets, refusals, excerpts.
// Internal to src/store; pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "net/http_message.hpp"
#include "store/consul_options.hpp"
#include "util/result.hpp"

namespace zedcup::consul::wire {

/// A path with its query, of which "dc" is always the last part.
class target_builder {
public:
  explicit target_builder(std::string path) : text_(std::move(path)) {}

  /// Adds a parameter; without a value where that is empty.
  target_builder& with(std::string_view name, std::string_view value = {});

  /// The request for this target, which is used up.
  http_request request(const consul_target& to, http_method method);

private:
  std::string text_;
  bool has_query_ = false;
};

target_builder kv_target(std::string_view key);

/// The first line of a body, printable and cut, for a message.
std::string excerpt(std::string_view body);

bool mentions(std::string_view body, std::string_view words);

/// Whether a text is one of those by which Consul's ACLs refuse.
bool is_acl_text(std::string_view body);

error bad_answer(const std::string& text);

/// What a status other than 200 means; a caller that gives 404 or 409 a
/// meaning looks at those first.
error refusal(const http_response& answer);

} // namespace zedcup::consul::wire
