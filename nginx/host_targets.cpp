#include "nginx/host_targets.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cctype>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/un.h>

#include "util/hash.hpp"

namespace zedcup {

namespace {

constexpr size_t longest_hosts_file = 1024UL * 1024;

using hosts_file = std::map<std::string, std::vector<std::string>>;

std::string lower(std::string text) {
  for (char& c : text)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

hosts_file read_hosts_file() {
  hosts_file names;
  std::ifstream in("/etc/hosts");
  std::string line;
  for (size_t read = 0; read < longest_hosts_file && std::getline(in, line);
       read += line.size() + 1) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string address;
    words >> address;
    if (address.find(':') != std::string::npos)
      address = "[" + address + "]";
    for (std::string name; words >> name;)
      names[lower(name)].push_back(address);
  }
  if (names["localhost"].empty())
    names["localhost"].push_back("127.0.0.1");
  return names;
}

/// As it was when this worker first needed it.
const std::vector<std::string>* known_host(const std::string& name) {
  static const hosts_file names = read_hosts_file();
  const auto found = names.find(lower(name));
  return found == names.end() ? nullptr : &found->second;
}

bool fill_unix(std::string_view path, host_address& out) {
  sockaddr_un one{};
  if (path.size() >= sizeof(one.sun_path))
    return false;
  one.sun_family = AF_UNIX;
  std::memcpy(one.sun_path, path.data(), path.size());
  std::memcpy(&out.socket, &one, sizeof(one));
  out.length = sizeof(one);
  return true;
}

bool fill_v6(std::string_view text, uint16_t port, host_address& out) {
  sockaddr_in6 one{};
  one.sin6_family = AF_INET6;
  one.sin6_port = htons(port);
  if (inet_pton(AF_INET6, std::string(text).c_str(), &one.sin6_addr) != 1)
    return false;
  std::memcpy(&out.socket, &one, sizeof(one));
  out.length = sizeof(one);
  return true;
}

bool fill_v4(std::string_view text, uint16_t port, host_address& out) {
  sockaddr_in one{};
  one.sin_family = AF_INET;
  one.sin_port = htons(port);
  if (inet_pton(AF_INET, std::string(text).c_str(), &one.sin_addr) != 1)
    return false;
  std::memcpy(&out.socket, &one, sizeof(one));
  out.length = sizeof(one);
  return true;
}

/// false: a name, which has to be asked for.
bool fill(std::string_view address, uint16_t port, host_address& out) {
  if (address.substr(0, 5) == "unix:") {
    out.text = address;
    return fill_unix(address.substr(5), out);
  }
  out.text = std::string(address) + ":" + std::to_string(port);
  if (!address.empty() && address.front() == '[')
    return fill_v6(address.substr(1, address.size() - 2), port, out);
  return fill_v4(address, port, out);
}

/// `keepalive` tells connections apart by the bytes of a socket address alone,
/// and would use one whose certificate was for another name. So the name goes
/// where the kernel does not look.
void mark(host_address& at, uint64_t with) {
  auto* bytes = reinterpret_cast<char*>(&at.socket);
  if (at.socket.ss_family == AF_INET)
    std::memcpy(bytes + offsetof(sockaddr_in, sin_zero), &with, sizeof(with));
  else if (at.socket.ss_family == AF_INET6)
    std::memcpy(bytes + offsetof(sockaddr_in6, sin6_flowinfo), &with,
                sizeof(sockaddr_in6::sin6_flowinfo));
  else if (std::strlen(bytes + offsetof(sockaddr_un, sun_path)) + 1 +
               sizeof(with) <=
           sizeof(sockaddr_un::sun_path))
    std::memcpy(bytes + sizeof(sockaddr_un) - sizeof(with), &with,
                sizeof(with));
}

/// The strings have their place now.
void name_all(address_list& list) {
  for (auto& one : list) {
    one.name.data =
        reinterpret_cast<u_char*>(const_cast<char*>(one.text.data()));
    one.name.len = one.text.size();
  }
}

} // namespace

host_target::host_target(const host_config& host, const std::string& tls_name,
                         ngx_resolver_t* resolver, ngx_msec_t timeout)
    : address_(host.address), port_(host.port), tls_name_(tls_name),
      addresses_(std::make_shared<address_list>()) {
  host_address numeric;
  const bool is_name = !fill(address_, port_, numeric);
  if (is_name && tls_name_.empty())
    tls_name_ = address_;
  mark_ = tls_name_.empty() ? 0 : hash_key(lower(tls_name_));
  if (!is_name) {
    mark(numeric, mark_);
    addresses_->push_back(numeric);
  } else if (const auto* known = known_host(address_)) {
    for (auto& text : *known)
      add(text);
  } else if (address_.compare(0, 5, "unix:") != 0) {
    name_ = ngx_http_zedcup_name_open(resolver, timeout, address_.data(),
                                      address_.size());
  }
  name_all(*addresses_);
}

host_target::~host_target() {
  if (name_ != nullptr)
    zedcup_ffi_name_release(name_);
  for (auto* session : sessions_)
    zedcup_session_free(session);
}

void host_target::add(std::string_view address) {
  host_address one;
  if (fill(address, port_, one)) {
    mark(one, mark_);
    addresses_->push_back(std::move(one));
  }
}

void host_target::take_answer() {
  version_ = zedcup_ffi_name_version(name_);
  const char* text = nullptr;
  size_t len = 0;
  zedcup_ffi_name_addresses(name_, &text, &len);
  addresses_ = std::make_shared<address_list>();
  std::string_view rest(text, len);
  for (size_t end = rest.find(' '); end != std::string_view::npos;
       end = rest.find(' ')) {
    add(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  name_all(*addresses_);
}

const std::shared_ptr<address_list>& host_target::addresses() {
  if (name_ != nullptr && zedcup_ffi_name_version(name_) != version_)
    take_answer();
  return addresses_;
}

size_t host_target::next(uint64_t now_ms) {
  const auto count = addresses_->size();
  if (count == 1)
    return 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t at = turn_++ % count;
    if ((*addresses_)[at].avoided_until <= now_ms)
      return at;
  }
  return turn_++ % count;
}

std::shared_ptr<target_set>
target_set::make(const registry::handle& fresh, const registry::handle* old,
                 ngx_http_zedcup_main_conf_t* zmcf) {
  auto made = std::make_shared<target_set>();
  auto& config = fresh.content->config();
  std::multimap<std::pair<std::string, uint16_t>, std::shared_ptr<host_target>>
      known;
  // With other TLS nothing may go on: a session stands for what was verified.
  if (old != nullptr && old->native &&
      old->content->config().ssl == config.ssl) {
    auto& before = *static_cast<target_set*>(old->native.get());
    auto& pools = old->content->config().pools;
    for (size_t p = 0; p < pools.size(); ++p)
      for (size_t h = 0; h < pools[p].hosts.size(); ++h)
        known.emplace(
            std::pair(pools[p].hosts[h].address, pools[p].hosts[h].port),
            before.pools[p][h]);
  }
  for (auto& pool : config.pools) {
    auto& hosts = made->pools.emplace_back();
    for (auto& host : pool.hosts) {
      const auto same = known.find({host.address, host.port});
      if (same != known.end()) {
        hosts.push_back(std::move(same->second));
        known.erase(same);
      } else {
        hosts.push_back(std::make_shared<host_target>(
            host, config.ssl ? config.ssl->sni_name : std::string(),
            zmcf->resolver, zmcf->resolver_timeout));
      }
    }
  }
  return made;
}

void serve_natively(registry& instances, ngx_http_zedcup_main_conf_t* zmcf) {
  auto** upstreams = static_cast<zedcup_upstream_t**>(zmcf->upstreams.elts);
  for (ngx_uint_t i = 0; i < zmcf->upstreams.nelts; ++i) {
    auto& one = *upstreams[i];
    std::optional<balance_method> method;
    if (one.method >= 0)
      method = static_cast<balance_method>(one.method);
    instances.serve_natively(
        {reinterpret_cast<char*>(one.instance.data), one.instance.len}, method);
  }
  instances.serve_natively(
      [zmcf](const registry::handle& fresh,
             const registry::handle* old) -> std::shared_ptr<void> {
        return target_set::make(fresh, old, zmcf);
      });
}

} // namespace zedcup
