#include <algorithm>

#include "actors/system.hpp"
#include "config/tree.hpp"
#include "store/json.hpp"

namespace zedcup {

namespace {

error bad(std::string key, const std::string& expected) {
  return {errc::invalid_argument, std::move(key) + ": expected " + expected};
}

/// Prefix segments become parts of keys; "" and "/" at the ends mean nothing.
result<std::string> parse_prefix(const tree& node) {
  if (!node.is_leaf())
    return bad("prefix", "a string");
  std::string prefix = *node.text;
  while (!prefix.empty() && prefix.back() == '/')
    prefix.pop_back();
  prefix.erase(0, prefix.find_first_not_of('/'));
  bool printable = std::all_of(prefix.begin(), prefix.end(),
                               [](char c) { return c > ' ' && c < 127; });
  if (prefix.empty() || !printable || prefix.find("//") != std::string::npos)
    return bad("prefix", "printable path segments");
  return prefix;
}

result<embedded_target> parse_embedded(const tree& node,
                                       std::vector<std::string>& notices) {
  for (auto& [key, value] : node.children)
    if (key != "path")
      notices.push_back("embedded." + key + ": unknown option");
  auto* path = node.find("path");
  if (path == nullptr || !path->is_leaf() || path->text->empty() ||
      path->text->front() != '/')
    return bad("embedded.path", "an absolute path");
  return embedded_target{*path->text};
}

/// As it was written, and not by way of a tree: in one, the texts "1" and
/// "true" are no longer told from a number and a boolean.
std::string member_text(std::string_view text, const char* name) {
  rapidjson::Document document;
  if (!json::parse(document, text))
    return {};
  auto* member = json::find(document, name);
  if (member == nullptr || member->IsNull())
    return {};
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  member->Accept(out);
  return {buffer.GetString(), buffer.GetSize()};
}

/// Only one of the stores may be there.
status check_one_store(const tree& root) {
  std::string found;
  size_t count = 0;
  for (const char* name : {"consul", "etcd", "embedded"})
    if (root.find(name) != nullptr) {
      found += (count++ != 0 ? ", " : "") + std::string(name);
    }
  if (count > 1)
    return error{errc::invalid_argument, found + ": only one store at a time"};
  return success();
}

/// Takes what a store's own parser made of its options.
template <class Options>
status take_store(result<Options> parsed, system_options& options,
                  std::vector<std::string>& notices) {
  if (!parsed)
    return parsed.error();
  for (auto& notice : parsed->notices)
    notices.push_back(notice);
  options.store = std::move(*parsed);
  return success();
}

std::string server_list(const std::vector<server_address>& addresses) {
  std::string list;
  for (auto& [host, port] : addresses)
    list += " " + host + ":" + std::to_string(port);
  return list;
}

} // namespace

std::string system_options::store_name() const {
  const auto where = path ? *path : prefix;
  const auto slash = where.empty() || where.front() != '/' ? "/" : "";
  if (auto* embedded = std::get_if<embedded_target>(&store))
    return "embedded " + embedded->path + ":" + where;
  if (auto* etcd = std::get_if<etcd_options>(&store))
    return "etcd" + server_list(etcd->addresses) + slash + where;
  return "consul" + server_list(std::get<consul_options>(store).addresses) +
         slash + where;
}

result<system_options> parse_system_options(std::string_view json,
                                            std::vector<std::string>& notices) {
  auto root = tree_from_json(json);
  if (!root)
    return root.error();
  if (root->text)
    return error{errc::invalid_argument, "options: expected a table"};
  for (auto& [key, value] : root->children)
    if (key != "prefix" && key != "consul" && key != "etcd" &&
        key != "embedded")
      notices.push_back(key + ": unknown option");
  system_options options;
  if (auto* prefix = root->find("prefix")) {
    auto parsed = parse_prefix(*prefix);
    if (!parsed)
      return parsed.error();
    options.prefix = std::move(*parsed);
  }
  auto one = check_one_store(*root);
  if (!one)
    return one.error();
  auto stored = success();
  if (auto* embedded = root->find("embedded")) {
    auto parsed = parse_embedded(*embedded, notices);
    if (!parsed)
      return parsed.error();
    options.store = std::move(*parsed);
  } else if (root->find("etcd") != nullptr) {
    stored = take_store(parse_etcd_options(member_text(json, "etcd")), options,
                        notices);
  } else {
    stored = take_store(parse_consul_options(member_text(json, "consul")),
                        options, notices);
  }
  if (!stored)
    return stored.error();
  if (auto* etcd = std::get_if<etcd_options>(&options.store))
    if (etcd->v2)
      return error{errc::invalid_argument,
                   "etcd.api: expected \"v3\": the v2 API has no transactions, "
                   "only lreu.syncer can follow it"};
  return options;
}

} // namespace zedcup
