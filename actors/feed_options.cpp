#include <algorithm>

#include "actors/feed.hpp"
#include "store/json.hpp"

namespace zedcup {

namespace {

using rapidjson::Value;

constexpr std::string_view flat_etcd = "etcd_";
constexpr size_t path_max = 512;

error bad(const std::string& key, const std::string& expected) {
  return {errc::invalid_argument, key + ": expected " + expected};
}

std::string to_text(const Value& value) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  value.Accept(out);
  return {buffer.GetString(), buffer.GetSize()};
}

/// What stands in the table, sorted by what it is for.
struct feed_tables {
  const Value* path = nullptr;
  std::string path_key = "etcd_path";
  const Value* etcd = nullptr;
  const Value* consul = nullptr;
  const Value* embedded = nullptr;
  rapidjson::Document flat{rapidjson::kObjectType}; ///< etcd_… as etcd's own

  void take(const std::string& key, const Value& value,
            std::vector<std::string>& notices) {
    if (key == "path" || key == "etcd_path") {
      path = &value;
      path_key = key;
    } else if (key == "etcd") {
      etcd = &value;
    } else if (key == "consul") {
      consul = &value;
    } else if (key == "embedded") {
      embedded = &value;
    } else if (key.rfind(flat_etcd, 0) == 0) {
      auto& memory = flat.GetAllocator();
      const auto name = key.substr(flat_etcd.size());
      flat.AddMember(Value(name.c_str(), memory), Value(value, memory), memory);
    } else {
      notices.push_back(key + ": unknown option");
    }
  }

  status check() const {
    const int stores = (etcd != nullptr || flat.MemberCount() != 0 ? 1 : 0) +
                       (consul != nullptr ? 1 : 0) +
                       (embedded != nullptr ? 1 : 0);
    if (stores > 1)
      return error{errc::invalid_argument,
                   "etcd, consul, embedded: only one store at a time"};
    if (etcd != nullptr && flat.MemberCount() != 0)
      return error{errc::invalid_argument,
                   flat_etcd.data() +
                       std::string(json::text_of(flat.MemberBegin()->name)) +
                       ": either this or the table etcd"};
    return success();
  }
};

/// The keys are `<path><service>/…`. Keys of etcd's v2 API begin with a slash,
/// those of Consul and of the embedded store with none, and of etcd's v3 API
/// they are what they are.
result<std::string> parse_path(const feed_tables& tables, bool v2, bool etcd) {
  const auto expected = "a path such as \"/v1/services/\"";
  if (tables.path == nullptr || !tables.path->IsString())
    return bad(tables.path_key, expected);
  std::string path(json::text_of(*tables.path));
  const bool printable = std::all_of(path.begin(), path.end(),
                                     [](char c) { return c > ' ' && c < 127; });
  if (!printable || path.empty() || path.size() > path_max ||
      path.find("//") != std::string::npos)
    return bad(tables.path_key, expected);
  if (path.back() != '/')
    path += '/';
  if (!etcd)
    path.erase(0, path.front() == '/' ? 1 : 0);
  else if (v2 && path.front() != '/')
    path.insert(0, 1, '/');
  if (path.empty() || path == "/")
    return bad(tables.path_key, expected + std::string(", got the root"));
  return path;
}

/// In the words of the table that the caller wrote.
error in_flat_words(error problem) {
  constexpr std::string_view head = "etcd.";
  if (problem.message.rfind(head, 0) == 0)
    problem.message.replace(0, head.size(), flat_etcd);
  return problem;
}

status read_etcd(const feed_tables& tables, system_options& out,
                 std::vector<std::string>& notices) {
  const bool flat = tables.etcd == nullptr;
  auto parsed =
      parse_etcd_options(flat ? to_text(tables.flat) : to_text(*tables.etcd));
  if (!parsed)
    return flat ? in_flat_words(parsed.error()) : parsed.error();
  for (auto& notice : parsed->notices)
    notices.push_back(
        flat ? in_flat_words({errc::invalid_argument, notice}).message
             : notice);
  out.store = std::move(*parsed);
  return success();
}

status read_store(const feed_tables& tables, system_options& out,
                  std::vector<std::string>& notices) {
  if (tables.embedded != nullptr) {
    const auto path = json::find_text(*tables.embedded, "path");
    if (!path || path->empty() || path->front() != '/')
      return bad("embedded.path", "an absolute path");
    out.store = embedded_target{std::string(*path)};
    return success();
  }
  if (tables.consul == nullptr)
    return read_etcd(tables, out, notices);
  auto parsed = parse_consul_options(to_text(*tables.consul));
  if (!parsed)
    return parsed.error();
  for (auto& notice : parsed->notices)
    notices.push_back(notice);
  out.store = std::move(*parsed);
  return success();
}

} // namespace

result<system_options> parse_feed_options(std::string_view text,
                                          std::vector<std::string>& notices) {
  rapidjson::Document root;
  if (!json::parse(root, text) || !root.IsObject())
    return error{errc::invalid_argument, "options: expected a table"};
  feed_tables tables;
  for (const auto& [name, value] : root.GetObject())
    if (!value.IsNull())
      tables.take(std::string(json::text_of(name)), value, notices);
  auto good = tables.check();
  if (!good)
    return good.error();
  system_options out;
  good = read_store(tables, out, notices);
  if (!good)
    return good.error();
  const auto* etcd = std::get_if<etcd_options>(&out.store);
  auto path = parse_path(tables, etcd != nullptr && etcd->v2, etcd != nullptr);
  if (!path)
    return path.error();
  out.path = std::move(*path);
  return out;
}

} // namespace zedcup
