#include "config/decode_parts.hpp"

#include "util/text.hpp"

namespace zedcup {

namespace {

std::optional<std::string> status_pattern(std::string_view text) {
  if (text.size() != 3 || text[0] < '1' || text[0] > '5')
    return std::nullopt;
  std::string out{text};
  for (char& c : out) {
    c = c == 'X' ? 'x' : c;
    if (c != 'x' && (c < '0' || c > '9'))
      return std::nullopt;
  }
  return out;
}

// One child of status_codes: `<n> = pattern` or `<pattern> = true|false`.
// Returns whether it could be read.
bool decode_status_code(const std::string& key, const std::string& value,
                        std::set<std::string>& out) {
  const bool in_set = value == "true" || value == "false";
  const auto pattern = status_pattern(in_set ? key : value);
  if (!pattern)
    return false;
  if (value != "false")
    out.insert(*pattern);
  return true;
}

} // namespace

bool decode_status_codes(table_reader& table, complaint_log& log,
                         std::set<std::string>& out) {
  const tree* node = table.take_table("status_codes");
  if (node == nullptr)
    return false;
  if (node->is_leaf()) {
    if (*node->text == "false")
      out.clear();
    else
      table.reject("status_codes",
                   "expected a list or false, got " + quoted(*node->text));
    return *node->text == "false";
  }
  const std::string path = table.path_of("status_codes");
  const table_reader check{*node, path, log};
  std::set<std::string> codes;
  bool any_good = node->children.empty();
  for (const auto& [key, child] : node->children) {
    const bool good =
        child.is_leaf() && decode_status_code(key, *child.text, codes);
    any_good = any_good || good;
    if (!good)
      log.error(check.path_of(key),
                R"(expected a pattern such as "503" or "5xx", got )" +
                    (child.is_leaf() ? quoted(*child.text) : "a table"));
  }
  if (any_good)
    out = std::move(codes);
  return any_good;
}

void decode_tls(table_reader& table, complaint_log& log,
                std::optional<tls_config>& out) {
  const tree* node = table.take_table("ssl");
  if (node == nullptr || table.ignored_as_empty("ssl", *node))
    return;
  if (node->is_leaf()) {
    // Fails safe: whoever writes "yes" does not mean plain TCP.
    if (*node->text != "false")
      out.emplace();
    if (*node->text != "false" && *node->text != "true")
      table.reject("ssl", "expected true, false or a table, got " +
                              quoted(*node->text));
    return;
  }
  const std::string path = table.path_of("ssl");
  table_reader fields{*node, path, log};
  tls_config tls;
  fields.boolean("ssl_verify", tls.verify);
  fields.boolean("verify", tls.verify);
  fields.text("sni_name", tls.sni_name);
  tls.extra = fields.unknown();
  out = std::move(tls);
}

} // namespace zedcup
