#include "store/etcd_protocol.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "store/json.hpp"
#include "util/base64.hpp"
#include "util/text.hpp"

namespace zedcup::etcd {
namespace {

using rapidjson::Value;

constexpr std::string_view flags_mark{"\0flags=", 7};

error bad_answer(const std::string& text) {
  return {errc::bad_answer, "etcd: " + text};
}

std::string excerpt(std::string_view body) {
  return printable(body.substr(0, body.find('\n')), 200);
}

/// The gateway writes 64-bit numbers as text and leaves out zeros.
std::optional<uint64_t> number_of(const Value* value) {
  if (value == nullptr)
    return 0;
  if (value->IsUint64())
    return value->GetUint64();
  if (!value->IsString())
    return std::nullopt;
  const auto text = json::text_of(*value);
  uint64_t number = 0;
  const auto* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, number);
  if (problem != std::errc() || stop != end)
    return std::nullopt;
  return number;
}

std::optional<std::string> bytes_of(const Value* value) {
  if (value == nullptr)
    return std::string();
  if (!value->IsString())
    return std::nullopt;
  return base64_decode(json::text_of(*value));
}

bool truth_of(const Value* value) {
  return value != nullptr && value->IsBool() && value->GetBool();
}

// ---- writing JSON --------------------------------------------------------

class object_writer {
public:
  object_writer() : out_(buffer_) {}

  json::writer& raw() { return out_; }
  void open(const char* name = nullptr) {
    key(name);
    out_.StartObject();
  }
  void close() { out_.EndObject(); }
  void list(const char* name) {
    key(name);
    out_.StartArray();
  }
  void end_list() { out_.EndArray(); }
  void bytes(const char* name, std::string_view value) {
    key(name);
    json::put_text(out_, base64_encode(value));
  }
  void text(const char* name, std::string_view value) {
    key(name);
    json::put_text(out_, value);
  }
  void number(const char* name, uint64_t value) {
    text(name, std::to_string(value));
  }
  void truth(const char* name) {
    key(name);
    out_.Bool(true);
  }
  std::string take() { return {buffer_.GetString(), buffer_.GetSize()}; }

private:
  void key(const char* name) {
    if (name != nullptr)
      out_.Key(name);
  }

  rapidjson::StringBuffer buffer_;
  json::writer out_;
};

// ---- reading answers -----------------------------------------------------

/// A parsed answer with what all of them carry.
struct opened {
  rapidjson::Document document;
  uint64_t cluster_id = 0;
  uint64_t revision = 0;
};

status read_header(const Value& object, opened& into) {
  const auto* const header = json::find(object, "header");
  if (header == nullptr)
    return bad_answer("an answer without a header");
  const auto cluster = number_of(json::find(*header, "cluster_id"));
  const auto revision = number_of(json::find(*header, "revision"));
  if (!cluster || !revision)
    return bad_answer("a header that cannot be read");
  into.cluster_id = *cluster;
  into.revision = *revision;
  return success();
}

result<opened> open_answer(const http_response& answer) {
  if (answer.status != 200)
    return refusal(answer);
  opened read;
  if (!json::parse(read.document, answer.body) || !read.document.IsObject())
    return bad_answer("no JSON object: " + excerpt(answer.body));
  auto header = read_header(read.document, read);
  if (!header)
    return header.error();
  return read;
}

result<kv_entry> read_entry(const Value& kv) {
  auto key = bytes_of(json::find(kv, "key"));
  auto value = bytes_of(json::find(kv, "value"));
  const auto modified = number_of(json::find(kv, "mod_revision"));
  const auto* const lease = json::find(kv, "lease");
  if (!key || key->empty() || !value || !modified ||
      (lease != nullptr && !lease->IsString()))
    return bad_answer("an entry that cannot be read");
  kv_entry entry;
  entry.key = std::move(*key);
  entry.value = std::move(*value);
  entry.modify_index = *modified;
  if (lease != nullptr && json::text_of(*lease) != "0")
    entry.session = json::text_of(*lease);
  const auto mark = entry.value.rfind(flags_mark);
  if (mark != std::string::npos) {
    const char* const first = entry.value.data() + mark + flags_mark.size();
    const char* const last = entry.value.data() + entry.value.size();
    uint64_t flags = 0;
    const auto [stop, problem] = std::from_chars(first, last, flags);
    if (problem == std::errc() && stop == last) {
      entry.flags = flags;
      entry.value.resize(mark);
    }
  }
  return entry;
}

std::string stored_value(const kv_op& op) {
  if (op.flags == 0)
    return op.value;
  return op.value + std::string(flags_mark) + std::to_string(op.flags);
}

void put_range(object_writer& out, std::string_view first,
               std::string_view end) {
  out.bytes("key", first);
  if (!end.empty())
    out.bytes("range_end", end);
}

} // namespace

bool is_no_gateway(const http_response& answer) {
  return answer.status == 404 && answer.body.find('{') == std::string::npos;
}

bool is_stale_token(const http_response& answer) {
  return answer.status == 401 ||
         answer.body.find("invalid auth token") != std::string::npos;
}

error refusal(const http_response& answer) {
  std::string text = excerpt(answer.body);
  rapidjson::Document document;
  if (json::parse(document, answer.body))
    if (const auto said = json::find_text(document, "error"))
      text = printable(*said, 200);
  const auto says = [&](std::string_view words) {
    return text.find(words) != std::string::npos;
  };
  auto code = errc::bad_answer;
  if (answer.status == 401 || answer.status == 403 ||
      says("permission denied") || says("authentication failed") ||
      says("invalid auth token") || says("user name is empty"))
    code = errc::denied;
  else if (answer.status == 404)
    code = errc::not_found;
  else if (says("request is too large") || says("too many operations"))
    code = errc::too_large;
  else if (answer.status == 429 || answer.status >= 500)
    code = errc::unavailable;
  else if (answer.status == 400)
    code = errc::invalid_argument;
  return {code, "etcd: " + std::to_string(answer.status) + ": " + text};
}

// ---- reading -------------------------------------------------------------

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty()) {
    if (static_cast<unsigned char>(end.back()) != 0xff) {
      end.back() = static_cast<char>(end.back() + 1);
      return end;
    }
    end.pop_back();
  }
  return std::string(1, '\0');
}

call read_range(std::string_view first, std::string_view end) {
  object_writer out;
  out.open();
  put_range(out, first, end);
  out.close();
  return {"/kv/range", out.take()};
}

result<range_answer> parse_range(const http_response& answer) {
  auto read = open_answer(answer);
  if (!read)
    return read.error();
  range_answer all;
  all.cluster_id = read->cluster_id;
  all.tree.revision = read->revision;
  const auto* const kvs = json::find(read->document, "kvs");
  if (kvs == nullptr)
    return all;
  if (!kvs->IsArray() || truth_of(json::find(read->document, "more")))
    return bad_answer("not all entries");
  all.tree.entries.reserve(kvs->Size());
  for (const auto& kv : kvs->GetArray()) {
    auto entry = read_entry(kv);
    if (!entry)
      return entry.error();
    all.tree.entries.push_back(std::move(*entry));
  }
  std::sort(all.tree.entries.begin(), all.tree.entries.end(),
            [](auto& a, auto& b) { return a.key < b.key; });
  return all;
}

call look_range(std::string_view first, std::string_view end) {
  object_writer out;
  out.open();
  put_range(out, first, end);
  out.number("limit", 1);
  out.text("sort_order", "DESCEND");
  out.text("sort_target", "MOD");
  out.truth("keys_only");
  out.close();
  return {"/kv/range", out.take()};
}

result<look_answer> parse_look(const http_response& answer) {
  auto read = open_answer(answer);
  if (!read)
    return read.error();
  look_answer seen;
  seen.cluster_id = read->cluster_id;
  seen.revision = read->revision;
  const auto count = number_of(json::find(read->document, "count"));
  if (!count)
    return bad_answer("a count that cannot be read");
  seen.count = *count;
  const auto* const kvs = json::find(read->document, "kvs");
  if (kvs == nullptr)
    return seen;
  if (!kvs->IsArray() || kvs->Size() != 1)
    return bad_answer("not one entry");
  const auto changed = number_of(json::find((*kvs)[0], "mod_revision"));
  if (!changed)
    return bad_answer("an entry that cannot be read");
  seen.changed = *changed;
  return seen;
}

// ---- writing -------------------------------------------------------------

namespace {

/// What ops come to in one transaction, in which each key may occur once.
struct transaction {
  struct condition {
    const char* target; ///< CREATE, MOD or LEASE
    const char* field;
    std::string key;
    std::string value;
  };
  std::vector<condition> conditions;
  std::map<std::string, const kv_op*> puts;
  std::vector<std::pair<std::string, std::string>> ranges; ///< deleted
  std::vector<std::string> keys;                           ///< deleted

  void add(const kv_op& op, bool held);
  std::vector<std::pair<std::string, std::string>> deletions() const;

private:
  void when(const char* target, const char* field, const kv_op& op,
            std::string value) {
    conditions.push_back({target, field, op.key, std::move(value)});
  }
  void when_index(const kv_op& op, uint64_t index) {
    if (index == 0)
      when("CREATE", "create_revision", op, "0");
    else
      when("MOD", "mod_revision", op, std::to_string(index));
  }
};

void transaction::add(const kv_op& op, bool held) {
  using verb = kv_op::verb;
  switch (op.what) {
  case verb::set_if:
    when_index(op, op.index);
    break;
  case verb::remove_if:
  case verb::check_index:
    when_index(op, op.index);
    break;
  case verb::check_absent:
    when_index(op, 0);
    break;
  case verb::lock:
    when("LEASE", "lease", op, held ? op.session : "0");
    break;
  case verb::unlock:
    when("LEASE", "lease", op, op.session);
    break;
  default:
    break;
  }
  switch (op.what) {
  case verb::set:
  case verb::set_if:
  case verb::lock:
  case verb::unlock:
    puts[op.key] = &op;
    break;
  case verb::remove:
  case verb::remove_if:
    puts.erase(op.key);
    keys.push_back(op.key);
    break;
  case verb::remove_tree: {
    auto end = prefix_end(op.key);
    auto at = puts.lower_bound(op.key);
    while (at != puts.end() && at->first < end)
      at = puts.erase(at);
    ranges.emplace_back(op.key, std::move(end));
    break;
  }
  default:
    break;
  }
}

/// Deleted ranges with the keys that are put left out, and no key twice. An
/// empty end is a single key.
std::vector<std::pair<std::string, std::string>>
transaction::deletions() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& [first, end] : ranges) {
    auto from = first;
    for (auto at = puts.lower_bound(first); at != puts.end() && at->first < end;
         ++at) {
      if (from < at->first)
        all.emplace_back(from, at->first);
      from = at->first + '\0';
    }
    if (from < end)
      all.emplace_back(from, end);
  }
  for (const auto& key : keys) {
    const auto covered = [&](const auto& range) {
      return key >= range.first && key < range.second;
    };
    if (puts.count(key) == 0 &&
        std::none_of(ranges.begin(), ranges.end(), covered))
      all.emplace_back(key, std::string());
  }
  return all;
}

std::string write_transaction(
    const transaction& plan,
    const std::vector<std::pair<std::string, std::string>>& deletions) {
  object_writer out;
  out.open();
  out.list("compare");
  for (const auto& c : plan.conditions) {
    out.open();
    out.bytes("key", c.key);
    out.text("result", "EQUAL");
    out.text("target", c.target);
    out.text(c.field, c.value);
    out.close();
  }
  out.end_list();
  out.list("success");
  for (const auto& [first, end] : deletions) {
    out.open();
    out.open("request_delete_range");
    put_range(out, first, end);
    out.close();
    out.close();
  }
  for (const auto& [key, op] : plan.puts) {
    out.open();
    out.open("request_put");
    out.bytes("key", key);
    out.bytes("value", stored_value(*op));
    if (op->what == kv_op::verb::lock)
      out.text("lease", op->session);
    out.close();
    out.close();
  }
  out.end_list();
  out.close();
  return out.take();
}

bool writes(const kv_op& op) {
  return op.what == kv_op::verb::set || op.what == kv_op::verb::set_if ||
         op.what == kv_op::verb::lock || op.what == kv_op::verb::unlock;
}

/// Whether any step of a transaction changed something.
bool changed_something(const Value& document) {
  const auto* const steps = json::find(document, "responses");
  if (steps == nullptr || !steps->IsArray())
    return false;
  for (const auto& step : steps->GetArray()) {
    if (json::find(step, "response_put") != nullptr)
      return true;
    const auto* const removal = json::find(step, "response_delete_range");
    if (removal != nullptr &&
        number_of(json::find(*removal, "deleted")).value_or(0) > 0)
      return true;
  }
  return false;
}

} // namespace

result<call> commit(const std::vector<kv_op>& ops, const commit_limits& limits,
                    bool held) {
  if (ops.empty())
    return error{errc::invalid_argument, "etcd: a commit without operations"};
  size_t bytes = 0;
  transaction plan;
  for (const auto& op : ops) {
    bytes += op.key.size() + op.value.size();
    plan.add(op, held);
  }
  if (ops.size() > limits.max_ops || bytes > limits.max_bytes)
    return error{errc::too_large,
                 "etcd: a commit of " + std::to_string(ops.size()) +
                     " operations and " + std::to_string(bytes) +
                     " bytes; the limits are " +
                     std::to_string(limits.max_ops) + " and " +
                     std::to_string(limits.max_bytes)};
  return call{"/kv/txn", write_transaction(plan, plan.deletions())};
}

result<commit_result> parse_commit(const http_response& answer,
                                   const std::vector<kv_op>& ops) {
  if (answer.status == 404 || answer.status == 400) {
    // A lease that is over: its session has lost what it held.
    if (answer.body.find("lease not found") != std::string::npos)
      return error{errc::conflict, "etcd: the session is over"};
  }
  auto read = open_answer(answer);
  if (!read)
    return read.error();
  if (!truth_of(json::find(read->document, "succeeded")))
    return error{errc::conflict, "etcd: a condition does not hold"};
  commit_result made;
  made.indexes.assign(ops.size(), 0);
  for (size_t i = 0; i < ops.size(); ++i)
    if (writes(ops[i]))
      made.indexes[i] = read->revision;
  if (changed_something(read->document))
    made.revision = read->revision;
  return made;
}

// ---- sessions ------------------------------------------------------------

namespace {

call lease_call(const char* path, std::string_view id) {
  object_writer out;
  out.open();
  out.text("ID", id);
  out.close();
  return {path, out.take()};
}

} // namespace

call grant_lease(std::chrono::seconds ttl) {
  object_writer out;
  out.open();
  out.number("TTL", static_cast<uint64_t>(ttl.count()));
  out.close();
  return {"/lease/grant", out.take()};
}

result<std::string> parse_lease(const http_response& answer) {
  auto read = open_answer(answer);
  if (!read)
    return read.error();
  const auto* const id = json::find(read->document, "ID");
  const auto number = number_of(id);
  if (id == nullptr || !number || *number == 0)
    return bad_answer("a lease without a number: " + excerpt(answer.body));
  return std::to_string(*number);
}

call renew_lease(std::string_view id) {
  return lease_call("/lease/keepalive", id);
}

status parse_renewal(const http_response& answer) {
  if (answer.status != 200)
    return refusal(answer);
  rapidjson::Document document;
  const Value* renewed = nullptr;
  if (json::parse(document, answer.body))
    renewed = json::find(document, "result");
  if (renewed == nullptr || json::find(*renewed, "ID") == nullptr)
    return bad_answer("no renewal: " + excerpt(answer.body));
  if (number_of(json::find(*renewed, "TTL")).value_or(0) == 0)
    return error{errc::not_found, "etcd: the lease is over"};
  return success();
}

call revoke_lease(std::string_view id) {
  return lease_call("/lease/revoke", id);
}

status parse_revocation(const http_response& answer) {
  if (answer.body.find("lease not found") != std::string::npos)
    return success();
  auto read = open_answer(answer);
  if (!read)
    return read.error();
  return success();
}

// ---- auth ----------------------------------------------------------------

call authenticate(std::string_view user, std::string_view password) {
  object_writer out;
  out.open();
  out.text("name", user);
  out.text("password", password);
  out.close();
  return {"/auth/authenticate", out.take()};
}

result<std::string> parse_token(const http_response& answer) {
  if (answer.status != 200) {
    auto why = refusal(answer);
    // "authentication is not enabled": no token is needed then.
    if (why.message.find("not enabled") != std::string::npos)
      return std::string();
    if (why.code == errc::invalid_argument)
      why.code = errc::denied;
    return why;
  }
  rapidjson::Document document;
  if (json::parse(document, answer.body))
    if (const auto token = json::find_text(document, "token"))
      return std::string(*token);
  return bad_answer("an answer without a token");
}

// ---- watching ------------------------------------------------------------

call watch_range(std::string_view first, std::string_view end,
                 uint64_t revision) {
  object_writer out;
  out.open();
  out.open("create_request");
  put_range(out, first, end);
  out.number("start_revision", revision);
  out.truth("progress_notify");
  out.truth("fragment");
  out.close();
  out.close();
  return {"/watch", out.take()};
}

namespace {

uint64_t last_change(const Value& events) {
  uint64_t last = 0;
  if (!events.IsArray())
    return last;
  for (const auto& event : events.GetArray())
    if (const auto* const kv = json::find(event, "kv"))
      last = std::max(last,
                      number_of(json::find(*kv, "mod_revision")).value_or(0));
  return last;
}

} // namespace

result<watch_message> parse_watch(std::string_view message) {
  rapidjson::Document document;
  if (!json::parse(document, message))
    return bad_answer("no JSON in the watch: " + excerpt(message));
  watch_message read;
  if (const auto* const failure = json::find(document, "error")) {
    read.canceled = true;
    read.reason =
        printable(json::find_text(*failure, "message").value_or("?"), 200);
    return read;
  }
  const auto* const body = json::find(document, "result");
  opened header;
  if (body == nullptr || !read_header(*body, header))
    return bad_answer("an unknown message in the watch: " + excerpt(message));
  read.cluster_id = header.cluster_id;
  read.revision = header.revision;
  read.created = truth_of(json::find(*body, "created"));
  read.canceled = truth_of(json::find(*body, "canceled"));
  read.compacted =
      number_of(json::find(*body, "compact_revision")).value_or(0) != 0;
  read.reason = printable(
      json::find_text(*body, "cancel_reason").value_or("canceled"), 200);
  if (const auto* const events = json::find(*body, "events"))
    read.changed = last_change(*events);
  return read;
}

} // namespace zedcup::etcd
