#include "config/decode_parts.hpp"

#include "config/address.hpp"
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

void decode_sni_name(table_reader& table, std::string& out) {
  std::string name;
  table.text("sni_name", name);
  if (name.empty())
    return;
  if (normalise_address(name) && !is_unix_address(name))
    out = std::move(name);
  else
    table.reject("sni_name",
                 "expected a host name or an IP address, got " + quoted(name));
}

void decode_path(table_reader& table, std::string_view key, std::string& out) {
  std::string path;
  table.text(key, path);
  if (path.empty())
    return;
  if (is_file_path(path))
    out = std::move(path);
  else
    table.reject(key, "expected an absolute path, got " + quoted(path));
}

void decode_client_cert(table_reader& table, tls_config& tls) {
  decode_path(table, "client_cert", tls.client_cert);
  decode_path(table, "client_key", tls.client_key);
  if (tls.client_cert.empty() == tls.client_key.empty())
    return;
  if (tls.client_cert.empty())
    table.reject("client_cert", "required beside client_key");
  else
    table.reject("client_key", "required beside client_cert");
  tls.client_cert.clear();
  tls.client_key.clear();
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
  decode_sni_name(fields, tls.sni_name);
  decode_client_cert(fields, tls);
  decode_path(fields, "ca_cert", tls.ca_cert);
  tls.extra = fields.unknown();
  out = std::move(tls);
}

} // namespace zedcup
