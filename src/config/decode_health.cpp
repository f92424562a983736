// Key `healthcheck`: from the untyped tree to healthcheck_config.
#include <algorithm>

#include "config/decode_parts.hpp"
#include "util/body_pattern.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

constexpr size_t longest_text = 1024;
constexpr size_t most_headers = 64;

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= 0x20 && c != 0x7f; });
}

// RFC 9110: token.
bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || marks.find(c) != std::string_view::npos;
  });
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

void decode_kind(table_reader& fields, probe_kind& out) {
  const auto* name = fields.leaf("type");
  if (name == nullptr)
    return;
  if (*name == "http")
    out = probe_kind::http;
  else if (*name == "tcp")
    out = probe_kind::tcp;
  else if (*name == "grpc")
    out = probe_kind::grpc;
  else
    fields.reject("type", "expected http, tcp or grpc, got " + quoted(*name));
}

void decode_method(table_reader& fields, std::string& out) {
  const auto* given = fields.leaf("method");
  if (given == nullptr)
    return;
  if (is_token(*given) && given->size() <= 32)
    out = *given;
  else
    fields.reject("method", "expected an HTTP method, got " + quoted(*given));
}

void decode_path(table_reader& fields, std::string& out) {
  const auto* given = fields.leaf("path");
  if (given == nullptr)
    return;
  const bool good = !given->empty() && given->front() == '/' &&
                    given->size() <= longest_text && is_printable(*given) &&
                    given->find_first_of(" #") == std::string::npos;
  if (good)
    out = *given;
  else
    fields.reject("path", "expected a path that begins with /, without "
                          "spaces and #, got " +
                              quoted(*given));
}

// Those that would change where the request ends are not for a configuration.
bool is_usable_header(const std::string& name) {
  const auto small = lower(name);
  return is_token(name) && name.size() <= longest_text &&
         small != "content-length" && small != "transfer-encoding";
}

void decode_headers(table_reader& fields, complaint_log& log,
                    healthcheck_config& out) {
  const tree* node = fields.take("headers");
  if (node == nullptr)
    return;
  if (node->is_leaf())
    return fields.reject("headers",
                         "expected a table, got " + quoted(*node->text));
  const std::string path = fields.path_of("headers");
  const table_reader check{*node, path, log};
  std::set<std::string> seen;
  for (const auto& [name, value] : node->children) {
    const bool good = value.is_leaf() && is_usable_header(name) &&
                      is_printable(*value.text) &&
                      value.text->size() <= longest_text &&
                      seen.size() < most_headers;
    if (!good)
      fields.reject("headers/" + name, "not usable as a header");
    else if (seen.insert(lower(name)).second)
      out.headers.emplace_back(name, *value.text);
    else
      fields.reject("headers/" + name, "is there twice");
  }
}

void decode_status(table_reader& fields, complaint_log& log,
                   healthcheck_config& out) {
  std::set<std::string> codes;
  if (decode_status_codes(fields, log, codes))
    out.status_codes = std::move(codes);
}

void decode_ssl(table_reader& fields, complaint_log& log,
                healthcheck_config& out) {
  std::optional<tls_config> tls;
  decode_tls(fields, log, tls);
  const tree* node = fields.take("ssl");
  if (node == nullptr)
    return;
  out.ssl.emplace();
  out.ssl->on = tls.has_value();
  if (tls)
    out.ssl->how = std::move(*tls);
}

void decode_body(table_reader& fields, std::string& out) {
  const auto* given = fields.leaf("body");
  if (given == nullptr)
    return;
  const auto pattern = body_pattern::compile(*given);
  if (given->size() > longest_text)
    fields.reject("body",
                  "longer than " + std::to_string(longest_text) + " bytes");
  else if (!pattern)
    fields.reject("body", pattern.error().message);
  else
    out = *given;
}

void decode_service(table_reader& fields, std::string& out) {
  const auto* given = fields.leaf("service");
  if (given == nullptr)
    return;
  if (given->size() <= longest_text && is_utf8(*given))
    out = *given;
  else
    fields.reject("service",
                  "expected a service's name, got " + quoted(*given));
}

void decode_milliseconds(table_reader& fields, const char* key,
                         std::optional<std::chrono::milliseconds>& out) {
  std::chrono::milliseconds value{0};
  fields.duration(key, 1, longest_ms, value);
  if (value.count() != 0)
    out = value;
}

void decode_table(const tree& node, const std::string& path, complaint_log& log,
                  healthcheck_config& out) {
  table_reader fields{node, path, log};
  decode_kind(fields, out.kind);
  fields.duration("interval", 1, 86400, out.interval);
  decode_method(fields, out.method);
  decode_path(fields, out.path);
  decode_headers(fields, log, out);
  decode_status(fields, log, out);
  decode_ssl(fields, log, out);
  decode_milliseconds(fields, "timeout", out.timeout);
  decode_milliseconds(fields, "read_timeout", out.read_timeout);
  decode_body(fields, out.body);
  decode_service(fields, out.service);
  (void)fields.unknown(); // kept in `given`
}

} // namespace

void decode_healthcheck(table_reader& table, complaint_log& log,
                        std::optional<healthcheck_config>& out) {
  constexpr const char* key = "healthcheck";
  const tree* node = table.take_table(key);
  if (node == nullptr || table.ignored_as_empty(key, *node))
    return;
  const std::string path = table.path_of(key);
  healthcheck_config check;
  complaint_log said_below; // by the readers of each part
  check.given = kept_copy(*node, path, said_below);
  if (!node->is_leaf()) {
    const auto errors = log.errors();
    decode_table(*node, path, log, check);
    if (log.errors() != errors) {
      check = {};
      check.enabled = false;
      check.given.text = "false";
    }
  } else if (*node->text != "true" && *node->text != "false") {
    return table.reject(key, "expected true, false or a table, got " +
                                 quoted(*node->text));
  } else {
    check.enabled = *node->text == "true";
  }
  out = std::move(check);
}

} // namespace zedcup
