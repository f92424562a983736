#include "store/etcd2_protocol.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "store/json.hpp"
#include "util/base64.hpp"
#include "util/text.hpp"

namespace zedcup::etcd2 {
namespace {

using rapidjson::Value;

// errorCode of the API
constexpr uint64_t key_not_found = 100;
constexpr uint64_t unauthorized = 110;
constexpr uint64_t index_cleared = 401;

error bad_answer(const std::string& text) {
  return {errc::bad_answer, "etcd: " + text};
}

std::string excerpt(std::string_view body) {
  return printable(body.substr(0, body.find('\n')), 200);
}

http_request request(const target& to, std::string_view path,
                     const std::string& query) {
  if (!path.empty() && path.back() == '/')
    path.remove_suffix(1);
  http_request made;
  made.endpoint = to;
  made.target = "/v2/keys" + percent_encode(path, true) + "?" + query;
  // Nothing else goes to this store between two changes.
  made.close_after = true;
  return made;
}

uint64_t index_of(const http_response& answer) {
  const auto text = answer.header("X-Etcd-Index").value_or("");
  uint64_t index = 0;
  const auto* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, index);
  return problem == std::errc() && stop == end ? index : 0;
}

uint64_t error_code(const rapidjson::Document& body) {
  return json::find_uint(body, "errorCode").value_or(0);
}

errc meaning(int status, uint64_t code) {
  if (status == 401 || status == 403 || code == unauthorized)
    return errc::denied;
  if (status == 404)
    return errc::not_found;
  if (status == 429 || status >= 500)
    return errc::unavailable;
  return errc::bad_answer;
}

/// What a status other than 200 means.
error refusal(const http_response& answer, const rapidjson::Document& body) {
  auto text = excerpt(answer.body);
  if (const auto said = json::find_text(body, "message")) {
    text = printable(*said, 200);
    if (const auto cause = json::find_text(body, "cause"))
      text += " (" + printable(*cause, 200) + ")";
  }
  if (answer.status == 404 && error_code(body) == 0)
    text += ": the server has no v2 API (--enable-v2)";
  return {meaning(answer.status, error_code(body)),
          "etcd: " + std::to_string(answer.status) + ": " + text};
}

/// The nodes below a folder, without recursion: a server may nest them as deep
/// as it likes.
class collector {
public:
  collector(std::string_view path, std::vector<kv_entry>& into)
      : path_(path), into_(into) {}

  status walk(const Value& root) {
    auto good = open(root, true);
    while (good && !folders_.empty()) {
      const auto* const nodes = folders_.back();
      folders_.pop_back();
      for (const auto& node : nodes->GetArray())
        if (good)
          good = take(node);
    }
    return good;
  }

private:
  status take(const Value& node) {
    const auto key = json::find_text(node, "key");
    if (!key || key->size() <= path_.size() ||
        key->substr(0, path_.size()) != path_)
      return bad_answer("a node that lies elsewhere");
    const auto* const folder = json::find(node, "dir");
    if (folder != nullptr && folder->IsTrue())
      return open(node, false);
    const auto value = json::find_text(node, "value");
    if (!value)
      return bad_answer("a node without a value: " + printable(*key, 200));
    add(node, std::string(*key), std::string(*value));
    return success();
  }

  status open(const Value& folder, bool top) {
    const auto* const nodes = json::find(folder, "nodes");
    if (nodes != nullptr && !nodes->IsArray())
      return bad_answer("a folder that cannot be read");
    if (nodes != nullptr && !nodes->Empty())
      folders_.push_back(nodes);
    else if (!top)
      add(folder, std::string(*json::find_text(folder, "key")) + "/", "");
    return success();
  }

  void add(const Value& node, std::string key, std::string value) {
    kv_entry entry;
    entry.key = std::move(key);
    entry.value = std::move(value);
    entry.modify_index = json::find_uint(node, "modifiedIndex").value_or(0);
    into_.push_back(std::move(entry));
  }

  std::string_view path_;
  std::vector<kv_entry>& into_;
  std::vector<const Value*> folders_;
};

} // namespace

std::vector<target> make_targets(const etcd_options& options) {
  std::vector<target> made;
  for (const auto& address : options.addresses) {
    auto endpoint = options.endpoint(address);
    if (!options.user.empty())
      endpoint.headers.emplace_back(
          "Authorization",
          "Basic " + base64_encode(options.user + ":" + options.password));
    made.push_back(std::make_shared<const http_endpoint>(std::move(endpoint)));
  }
  return made;
}

http_request read_tree(const target& to, std::string_view path, bool quorum) {
  return request(to, path,
                 std::string("recursive=true&sorted=true") +
                     (quorum ? "&quorum=true" : ""));
}

http_request look(const target& to, std::string_view path) {
  return request(to, path, "quorum=true");
}

http_request wait_for_change(const target& to, std::string_view path,
                             uint64_t from, std::chrono::milliseconds bound) {
  auto made = request(
      to, path, "wait=true&recursive=true&waitIndex=" + std::to_string(from));
  made.timeout = bound;
  return made;
}

result<tree_answer> parse_tree(const http_response& answer,
                               std::string_view path) {
  rapidjson::Document body;
  if (!json::parse(body, answer.body) || !body.IsObject())
    body.SetObject();
  tree_answer read;
  read.tree.revision = index_of(answer);
  read.cluster_id = answer.header("X-Etcd-Cluster-Id").value_or("");
  if (answer.status == 404 && error_code(body) == key_not_found)
    return read;
  if (answer.status != 200)
    return refusal(answer, body);
  const auto* const root = json::find(body, "node");
  if (root == nullptr || !root->IsObject())
    return bad_answer("no tree: " + excerpt(answer.body));
  const auto* const folder = json::find(*root, "dir");
  if (folder == nullptr || !folder->IsTrue())
    return bad_answer(printable(path, 200) + " is a key, not a folder");
  auto& entries = read.tree.entries;
  auto good = collector(path, entries).walk(*root);
  if (!good)
    return good.error();
  std::sort(entries.begin(), entries.end(),
            [](auto& a, auto& b) { return a.key < b.key; });
  return read;
}

result<news> parse_change(const http_response& answer) {
  rapidjson::Document body;
  const bool is_json = json::parse(body, answer.body) && body.IsObject();
  if (!is_json)
    body.SetObject();
  if (error_code(body) == index_cleared)
    return news::outdated;
  if (error_code(body) == key_not_found)
    return news::change;
  if (answer.status != 200)
    return refusal(answer, body);
  if (is_json && json::find(body, "node") != nullptr)
    return news::change;
  if (answer.body.find_first_not_of(" \r\n") == std::string::npos)
    return news::none;
  return bad_answer("no event: " + excerpt(answer.body));
}

} // namespace zedcup::etcd2
