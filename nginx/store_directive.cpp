// `zedcup_store URL [name=value …];`: the options of zedcup.init() as a line of
// nginx's configuration, and the start of the runtime by it.
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include "config/json_writer.hpp"
#include "nginx/bridge.hpp"

namespace {

struct parsed_url {
  std::string kind; ///< consul, etcd or embedded
  std::vector<std::string> servers;
  std::string path; ///< of the file, or the prefix
};

std::string trimmed(std::string_view path) {
  while (!path.empty() && path.front() == '/')
    path.remove_prefix(1);
  while (!path.empty() && path.back() == '/')
    path.remove_suffix(1);
  return std::string(path);
}

zedcup::result<parsed_url> parse_url(std::string_view url) {
  const auto bad = [&](const char* why) {
    return zedcup::error{zedcup::errc::invalid_argument,
                         "\"" + std::string(url) + "\": " + why};
  };
  parsed_url out;
  if (url.substr(0, 10) == "embedded:/") {
    out.kind = "embedded";
    out.path = url.substr(9);
    return out;
  }
  const auto scheme = url.find("://");
  out.kind = url.substr(0, scheme == std::string_view::npos ? 0 : scheme);
  if (out.kind != "consul" && out.kind != "etcd")
    return bad("expected consul://host:port/prefix, "
               "etcd://host:port,host:port/prefix or embedded:/path");
  auto rest = url.substr(scheme + 3);
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) {
    out.path = trimmed(rest.substr(slash));
    rest = rest.substr(0, slash);
  }
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    out.servers.emplace_back(rest.substr(0, comma));
    if (out.servers.back().empty())
      return bad("a server is missing beside a comma");
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    if (comma != std::string_view::npos && rest.empty())
      return bad("a server is missing beside a comma");
  }
  return out;
}

void write_text(zedcup::json_writer& out, std::string_view key,
                const std::string& value) {
  out.key(std::string(key).c_str());
  out.string(value);
}

zedcup::result<std::string> options_json(std::string_view url,
                                         const ngx_str_t* options, size_t n) {
  auto parsed = parse_url(url);
  if (!parsed)
    return parsed.error();
  std::string prefix = parsed->kind == "embedded" ? "" : parsed->path;
  zedcup::json_writer out;
  out.begin_object();
  out.key(parsed->kind.c_str());
  out.begin_object();
  if (parsed->kind == "embedded") {
    write_text(out, "path", parsed->path);
  } else if (!parsed->servers.empty()) {
    out.key(parsed->kind == "etcd" ? "endpoints" : "addresses");
    out.begin_array();
    for (auto& server : parsed->servers)
      out.string(server);
    out.end_array();
  }
  for (size_t i = 0; i < n; ++i) {
    const std::string_view text(reinterpret_cast<char*>(options[i].data),
                                options[i].len);
    const auto equals = text.find('=');
    if (equals == 0 || equals == std::string_view::npos)
      return zedcup::error{zedcup::errc::invalid_argument,
                           "\"" + std::string(text) +
                               "\": expected name=value"};
    const auto name = text.substr(0, equals);
    const std::string value(text.substr(equals + 1));
    if (name == "prefix")
      prefix = trimmed(value);
    else
      write_text(out, name, value);
  }
  out.end_object();
  if (!prefix.empty())
    write_text(out, "prefix", prefix);
  out.end_object();
  return out.take();
}

/// As nginx's own directives do: a worker that cannot read it would only say so
/// once it runs.
zedcup::status check_readable(const std::string& kind, const char* name,
                              const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0)
    return zedcup::success();
  return zedcup::error{zedcup::errc::invalid_argument,
                       kind + "." + name + ": cannot read " + path + ": " +
                           std::strerror(errno)};
}

zedcup::status check_files(const zedcup::connection_options& options,
                           const std::string& kind) {
  for (auto& [name, path] : {std::pair{"ca_cert", &options.ca_cert},
                             std::pair{"client_cert", &options.client_cert},
                             std::pair{"client_key", &options.client_key}}) {
    auto readable = check_readable(kind, name, *path);
    if (!readable)
      return readable;
  }
  return zedcup::success();
}

zedcup::status check_files(const zedcup::system_options& options) {
  if (auto* consul = std::get_if<zedcup::consul_options>(&options.store))
    return check_files(*consul, "consul");
  if (auto* etcd = std::get_if<zedcup::etcd_options>(&options.store))
    return check_files(*etcd, "etcd");
  return zedcup::success();
}

/// Unlike Lua's, options that mean nothing are errors: `nginx -t` is asked.
zedcup::result<std::string> checked(std::string_view url,
                                    const ngx_str_t* options, size_t n) {
  auto json = options_json(url, options, n);
  if (!json)
    return json.error();
  std::vector<std::string> notices;
  auto parsed = zedcup::parse_system_options(*json, notices);
  if (!parsed)
    return parsed.error();
  if (!notices.empty())
    return zedcup::error{zedcup::errc::invalid_argument, notices.front()};
  auto readable = check_files(*parsed);
  if (!readable)
    return readable.error();
  return json;
}

/// A copy in nginx's pool, with a NUL behind it.
ngx_int_t keep(ngx_pool_t* pool, const std::string& text, ngx_str_t* out) {
  out->data = static_cast<u_char*>(ngx_pnalloc(pool, text.size() + 1));
  if (out->data == nullptr)
    return NGX_ERROR;
  text.copy(reinterpret_cast<char*>(out->data), text.size());
  out->data[text.size()] = '\0';
  out->len = text.size();
  return NGX_OK;
}

void complain(const std::string& text) {
  ngx_http_zedcup_log(NGX_LOG_EMERG, text.data(), text.size());
}

} // namespace

ngx_int_t zedcup_store_check(ngx_pool_t* pool, const ngx_str_t* args,
                             size_t count, ngx_str_t* json, ngx_str_t* why) {
  try {
    auto made = checked({reinterpret_cast<char*>(args[0].data), args[0].len},
                        args + 1, count - 1);
    if (made)
      return keep(pool, *made, json);
    (void)keep(pool, made.error().message, why);
  } catch (const std::exception& problem) {
    ngx_str_set(why, "no memory");
  }
  return NGX_DECLINED;
}

void zedcup_store_start(void) {
  auto* zmcf = static_cast<ngx_http_zedcup_main_conf_t*>(
      ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_zedcup_module));
  if (zmcf == nullptr || zmcf->store.len == 0 ||
      zedcup::worker_runtime() != nullptr)
    return;
  const auto* json = &zmcf->store;
  try {
    std::vector<std::string> notices;
    auto options = zedcup::parse_system_options(
        {reinterpret_cast<char*>(json->data), json->len}, notices);
    if (!options)
      return complain("zedcup_store: " + options.error().message);
    auto started = zedcup::start_worker_runtime(std::move(*options), nullptr);
    if (!started)
      complain("zedcup_store: " + started.error().message);
  } catch (const std::exception& problem) {
    complain(std::string("zedcup_store: ") + problem.what());
  }
}
