// The part of consul_protocol.hpp that commits: PUT /v1/txn.
#include <algorithm>

#include "store/consul_protocol.hpp"
#include "store/consul_wire.hpp"
#include "store/json.hpp"
#include "util/base64.hpp"

namespace zedcup::consul {
namespace {

using rapidjson::Value;
using namespace wire;

const char* verb_name(kv_op::verb verb) {
  switch (verb) {
  case kv_op::verb::set:
    return "set";
  case kv_op::verb::set_if:
    return "cas";
  case kv_op::verb::remove:
    return "delete";
  case kv_op::verb::remove_if:
    return "delete-cas";
  case kv_op::verb::remove_tree:
    return "delete-tree";
  case kv_op::verb::check_index:
    return "check-index";
  case kv_op::verb::check_absent:
    return "check-not-exists";
  case kv_op::verb::lock:
    return "lock";
  case kv_op::verb::unlock:
    return "unlock";
  }
  return "";
}

bool writes(const kv_op& op) {
  return op.what == kv_op::verb::set || op.what == kv_op::verb::set_if ||
         op.what == kv_op::verb::lock || op.what == kv_op::verb::unlock;
}

// Keys must be UTF-8: Go's JSON reader would alter anything else silently.
using checked_writer =
    rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>,
                      rapidjson::UTF8<>, rapidjson::CrtAllocator,
                      rapidjson::kWriteValidateEncodingFlag>;

bool put(checked_writer& out, const char* name, std::string_view text) {
  return out.Key(name) &&
         out.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

bool put_op(checked_writer& out, const kv_op& op) {
  using verb = kv_op::verb;
  bool good = out.StartObject() && out.Key("KV") && out.StartObject() &&
              put(out, "Verb", verb_name(op.what)) && put(out, "Key", op.key);
  if (writes(op))
    good = good && put(out, "Value", base64_encode(op.value)) &&
           out.Key("Flags") && out.Uint64(op.flags);
  if (op.what == verb::set_if || op.what == verb::remove_if ||
      op.what == verb::check_index)
    good = good && out.Key("Index") && out.Uint64(op.index);
  if (op.what == verb::lock || op.what == verb::unlock)
    good = good && put(out, "Session", op.session);
  return good && out.EndObject() && out.EndObject();
}

/// What a 409 says of its operations.
error read_conflict(const http_response& answer) {
  rapidjson::Document document;
  const Value* failures = nullptr;
  if (json::parse(document, answer.body))
    failures = json::find(document, "Errors");
  if (!failures || !failures->IsArray() || failures->Empty())
    return bad_answer("409 without reasons: " + excerpt(answer.body));
  std::string text;
  for (const auto& failure : failures->GetArray()) {
    if (text.size() > 300)
      break;
    text += text.empty() ? "" : "; ";
    text += excerpt(json::find_text(failure, "What").value_or("?"));
  }
  auto code = errc::conflict;
  if (is_acl_text(text))
    code = errc::denied;
  else if (mentions(text, "unknown KV verb"))
    code = errc::invalid_argument;
  return {code, "consul: " + text};
}

/// Results come per operation that leaves an entry: writes, and check-index.
result<commit_result> match_results(const Value& results,
                                    const std::vector<kv_op>& ops) {
  commit_result made;
  made.indexes.assign(ops.size(), 0);
  rapidjson::SizeType at = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    const bool check = ops[i].what == kv_op::verb::check_index;
    if (!check && !writes(ops[i]))
      continue;
    const Value* const entry =
        at < results.Size() ? json::find(results[at], "KV") : nullptr;
    const auto key = entry ? json::find_text(*entry, "Key") : std::nullopt;
    const auto index =
        entry ? json::find_uint(*entry, "ModifyIndex") : std::nullopt;
    if (!index || key != ops[i].key)
      return bad_answer("results that do not match the transaction");
    ++at;
    if (check)
      continue;
    made.indexes[i] = *index;
    made.revision = std::max(made.revision, *index);
  }
  if (at != results.Size())
    return bad_answer("more results than operations");
  return made;
}

} // namespace

result<http_request> commit(const consul_target& to,
                            const std::vector<kv_op>& ops,
                            const commit_limits& limits) {
  size_t bytes = 0;
  for (const auto& op : ops)
    bytes += op.key.size() + op.value.size();
  if (ops.empty())
    return error{errc::invalid_argument, "consul: a commit without operations"};
  if (ops.size() > limits.max_ops || bytes > limits.max_bytes)
    return error{errc::too_large,
                 "consul: a commit of " + std::to_string(ops.size()) +
                     " operations and " + std::to_string(bytes) +
                     " bytes; the limits are " +
                     std::to_string(limits.max_ops) + " and " +
                     std::to_string(limits.max_bytes)};
  rapidjson::StringBuffer buffer;
  checked_writer out(buffer);
  out.StartArray();
  for (const auto& op : ops)
    if (!put_op(out, op))
      return error{errc::invalid_argument,
                   "consul: a key or session that is not UTF-8"};
  out.EndArray();
  auto request = target_builder("/v1/txn").request(to, http_method::put);
  request.body.assign(buffer.GetString(), buffer.GetSize());
  return request;
}

result<commit_result> parse_commit(const http_response& answer,
                                   const std::vector<kv_op>& ops) {
  if (answer.status == 409)
    return read_conflict(answer);
  if (answer.status != 200)
    return refusal(answer);
  rapidjson::Document document;
  const Value* results = nullptr;
  if (json::parse(document, answer.body))
    results = json::find(document, "Results");
  if (results && results->IsArray())
    return match_results(*results, ops);
  if (results && results->IsNull())
    return match_results(Value(rapidjson::kArrayType), ops);
  return bad_answer("200 without results: " + excerpt(answer.body));
}

} // namespace zedcup::consul
