#include "health/probe.hpp"

#include <algorithm>

#include "config/address.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

constexpr size_t body_limit = size_t{64} * 1024;

bool same_name(std::string_view a, std::string_view b) {
  const auto small = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [&](char x, char y) { return small(x) == small(y); });
}

std::string without_brackets(const std::string& address) {
  if (address.empty() || address.front() != '[')
    return address;
  return address.substr(1, address.size() - 2);
}

probe_tls tls_of(const instance_config& instance,
                 const healthcheck_config& check) {
  if (check.ssl)
    return *check.ssl;
  probe_tls tls;
  tls.on = instance.ssl.has_value();
  if (tls.on)
    tls.how = *instance.ssl;
  return tls;
}

std::shared_ptr<http_endpoint> endpoint_of(const host_config& host,
                                           const probe_tls& tls) {
  auto to = std::make_shared<http_endpoint>();
  to->port = host.port;
  if (is_unix_address(host.address)) {
    to->unix_path = host.address.substr(5);
    to->host = "localhost";
  } else {
    to->host = without_brackets(host.address);
  }
  to->tls = tls.on;
  to->verify = tls.how.verify;
  to->sni_host = without_brackets(tls.how.sni_name);
  to->client_cert = tls.how.client_cert;
  to->client_key = tls.how.client_key;
  // As in requests: nobody in particular is expected at a unix socket.
  to->verify_name = !to->sni_host.empty() || to->unix_path.empty();
  to->ca_cert = tls.how.ca_cert;
  return to;
}

/// The names that the configuration gives replace the defaults.
http_headers with_defaults(http_headers defaults,
                           const healthcheck_config& check) {
  http_headers all = check.headers;
  for (auto& header : defaults)
    if (std::none_of(all.begin(), all.end(), [&](const auto& given) {
          return same_name(given.first, header.first);
        }))
      all.push_back(std::move(header));
  return all;
}

void set_request(const healthcheck_config& check, http_request& out) {
  http_headers defaults = {
      {"User-Agent", "zedcup/" ZEDCUP_VERSION " HTTP check"}};
  out.probe = true;
  out.close_after = true;
  out.body_limit = body_limit;
  if (check.kind == probe_kind::tcp) {
    out.connect_only = true;
    return;
  }
  if (check.kind == probe_kind::grpc) {
    defaults.emplace_back("content-type", "application/grpc");
    defaults.emplace_back("te", "trailers");
    out.method = http_method::post;
    out.target = "/grpc.health.v1.Health/Check";
    out.http2 = true;
    out.body = grpc_health_request(check.service);
  } else {
    defaults.emplace_back("Connection", "close");
    out.method_name = check.method;
    out.target = check.path;
  }
  out.headers = with_defaults(std::move(defaults), check);
}

bool status_is_in(int status, const std::set<std::string>& patterns) {
  if (status < 100 || status > 999)
    return false;
  const auto text = std::to_string(status);
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) {
                       for (size_t i = 0; i < 3; ++i)
                         if (pattern[i] != 'x' && pattern[i] != text[i])
                           return false;
                       return true;
                     });
}

std::optional<uint64_t> read_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0)
      return value;
  }
  return std::nullopt;
}

judgement judge_grpc(const http_response& answer) {
  const auto bad = [](std::string why) {
    return judgement{verdict::bad, std::move(why)};
  };
  if (answer.status != 200)
    return bad("status " + std::to_string(answer.status));
  const auto code = answer.header("grpc-status");
  if (!code)
    return bad("no grpc-status in the answer");
  if (*code != "0")
    return bad("grpc-status " + printable(*code, 16));
  const auto serving = grpc_health_status(answer.body);
  if (!serving)
    return bad("no HealthCheckResponse in the answer");
  if (*serving != 1)
    return bad("serving status " + std::to_string(*serving));
  return {verdict::good, {}};
}

judgement judge_http(const probe& asked, const http_response& answer) {
  if (status_is_in(answer.status, asked.bad_statuses))
    return {verdict::bad, "status " + std::to_string(answer.status)};
  if (asked.body)
    if (auto found = asked.body->match(answer.body); !found)
      return {verdict::bad, found.error().message};
  return {verdict::good, {}};
}

} // namespace

const healthcheck_config* check_in_force(const instance_config& instance,
                                         const pool_config& pool,
                                         const host_config& host) {
  for (const auto* given :
       {&host.healthcheck, &pool.healthcheck, &instance.healthcheck})
    if (*given)
      return (*given)->enabled ? &**given : nullptr;
  return nullptr;
}

std::shared_ptr<const probe> make_probe(const instance_config& instance,
                                        const pool_config& pool,
                                        const host_config& host) {
  const auto* check = check_in_force(instance, pool, host);
  if (check == nullptr)
    return nullptr;
  auto made = std::make_shared<probe>();
  made->host = {instance.name, pool.index, host.index, host.address, host.port};
  made->kind = check->kind;
  made->interval = check->interval;
  made->bad_statuses = check->status_codes.value_or(pool.status_codes);
  if (!check->body.empty()) {
    auto pattern = body_pattern::compile(check->body);
    if (!pattern)
      return nullptr;
    made->body = std::move(*pattern);
  }
  auto to = endpoint_of(host, tls_of(instance, *check));
  to->connect_timeout = check->timeout.value_or(pool.timeout);
  to->read_timeout = check->read_timeout.value_or(pool.read_timeout);
  made->request.endpoint = std::move(to);
  set_request(*check, made->request);
  made->max_errors = pool.max_errors;
  made->min_rises = pool.min_rises;
  // So many bad probes in a row must fit in, also slow ones.
  made->window = std::max(pool.error_timeout,
                          check->interval * (int64_t{pool.max_errors} + 1));
  made->taken_down = host.down_by_zedcup;
  return made;
}

judgement judge(const probe& asked, const result<http_response>& answer) {
  if (!answer) {
    const auto& problem = answer.error();
    if (problem.code == errc::invalid_argument)
      return {verdict::misconfigured, problem.message};
    const bool ours =
        problem.code == errc::cancelled || problem.code == errc::exhausted;
    return {ours ? verdict::none : verdict::bad, problem.message};
  }
  switch (asked.kind) {
  case probe_kind::tcp:
    return {verdict::good, {}};
  case probe_kind::grpc:
    return judge_grpc(*answer);
  case probe_kind::http:
    break;
  }
  return judge_http(asked, *answer);
}

// A gRPC message: a byte "compressed", four of length; then protobuf, here
// field 1, a string.
std::string grpc_health_request(const std::string& service) {
  std::string message;
  if (!service.empty()) {
    message += '\x0a';
    for (auto size = service.size();; size >>= 7) {
      message += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
      if (size <= 0x7f)
        break;
    }
    message += service;
  }
  std::string out(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>((message.size() >> shift) & 0xff);
  return out + message;
}

std::optional<uint64_t> grpc_health_status(std::string_view body) {
  if (body.size() < 5 || body[0] != '\0')
    return std::nullopt;
  uint32_t size = 0;
  for (size_t i = 1; i < 5; ++i)
    size = size << 8 | static_cast<unsigned char>(body[i]);
  body.remove_prefix(5);
  if (body.size() < size)
    return std::nullopt;
  body = body.substr(0, size);
  uint64_t serving = 0; // absent: UNKNOWN
  while (!body.empty()) {
    const auto tag = read_varint(body);
    if (!tag || (*tag & 7) != 0) // a field that the message does not have
      return std::nullopt;
    const auto value = read_varint(body);
    if (!value)
      return std::nullopt;
    if (*tag >> 3 == 1)
      serving = *value;
  }
  return serving;
}

} // namespace zedcup
