#include "net/curl_exchange.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "net/tls_files.hpp"

namespace zedcup {
namespace {

bool is_control(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool printable(std::string_view text) {
  return std::none_of(text.begin(), text.end(), is_control);
}

/// Refuses what would change the meaning of a URL it is put into.
bool valid_host(std::string_view host) {
  return !host.empty() && printable(host) &&
         host.find_first_of(" /?#@\\[]%") == std::string_view::npos;
}

bool valid_target(std::string_view target) {
  return !target.empty() && target.front() == '/' && printable(target) &&
         target.find_first_of(" #") == std::string_view::npos;
}

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
  };
  while (!text.empty() && blank(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && blank(text.back()))
    text.remove_suffix(1);
  return text;
}

long bounded_ms(std::chrono::milliseconds time) {
  // 0 means "no limit" to libcurl; a caller's 0 or less means "at once".
  return static_cast<long>(
      std::clamp<int64_t>(time.count(), 1, int64_t{24} * 3600 * 1000));
}

errc code_of(CURLcode code) noexcept {
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    return errc::timed_out;
  case CURLE_URL_MALFORMAT:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_BAD_FUNCTION_ARGUMENT:
    return errc::invalid_argument;
  case CURLE_UNSUPPORTED_PROTOCOL: // an answer that is not HTTP
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_CONTENT_ENCODING:
  case CURLE_HTTP_RETURNED_ERROR:
    return errc::bad_answer;
  default:
    return errc::unavailable;
  }
}

/// A file that is replaced is read again so soon; by default after a day.
[[maybe_unused]] constexpr long ca_cache_seconds = 10;

bool is_tls_error(CURLcode code) noexcept {
  return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CERTPROBLEM ||
         code == CURLE_SSL_CIPHER || code == CURLE_PEER_FAILED_VERIFICATION ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
}

} // namespace

status curl_exchange::check() const {
  if (!request_.endpoint)
    return error{errc::invalid_argument, "http: a request without endpoint"};
  const auto& to = *request_.endpoint;
  const bool sni_ok = !to.tls || to.sni_host.empty() || valid_host(to.sni_host);
  const bool reachable = to.port != 0 || !to.unix_path.empty();
  if (!valid_host(to.host) || !sni_ok || !reachable)
    return error{errc::invalid_argument, "http: unusable host or port"};
  if (!valid_target(request_.target))
    return error{errc::invalid_argument, "http: unusable path or query"};
  if (!printable(request_.method_name) ||
      request_.method_name.find(' ') != std::string::npos)
    return error{errc::invalid_argument, "http: unusable method"};
  return to.tls ? check_tls_files(to) : success();
}

status curl_exchange::prepare() {
  if (auto good = check(); !good)
    return good;
  easy_.reset(curl_easy_init());
  if (!easy_)
    return error{errc::unavailable, "http: libcurl gave no handle"};
  CURL* const easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text_.data());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
                   request_.probe ? 8L * 1024 : 128L * 1024);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  if (request_.close_after) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  }
  if (request_.probe) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, this);
  }
  if (request_.connect_only)
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
  set_version();
  set_url();
  set_method();
  set_timeouts();
  set_tls();
  return set_headers();
}

void curl_exchange::set_version() {
  long version = CURL_HTTP_VERSION_1_1;
  if (request_.http2)
    version = request_.endpoint->tls ? CURL_HTTP_VERSION_2TLS
                                     : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
  curl_easy_setopt(easy_.get(), CURLOPT_HTTP_VERSION, version);
}

void curl_exchange::set_url() {
  const auto& to = *request_.endpoint;
  std::string authority = to.authority();
  if (!to.unix_path.empty()) {
    curl_easy_setopt(easy_.get(), CURLOPT_UNIX_SOCKET_PATH,
                     to.unix_path.c_str());
    authority = to.tls && !to.sni_host.empty() ? to.sni_host : to.host;
  } else if (to.tls && !to.sni_host.empty()) {
    // Names the server in SNI, Host and certificate; connects elsewhere.
    const auto direction = "::" + authority;
    connect_to_.reset(curl_slist_append(nullptr, direction.c_str()));
    curl_easy_setopt(easy_.get(), CURLOPT_CONNECT_TO, connect_to_.get());
    http_endpoint named = to;
    named.host = to.sni_host;
    authority = named.authority();
  }
  const auto url =
      (to.tls ? "https://" : "http://") + authority + request_.target;
  curl_easy_setopt(easy_.get(), CURLOPT_URL, url.c_str());
}

void curl_exchange::set_method() {
  CURL* const easy = easy_.get();
  const auto method = request_.method;
  if (method == http_method::put || method == http_method::post) {
    const auto size = static_cast<curl_off_t>(request_.body.size());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.body.data());
  }
  const auto& name = request_.method_name;
  if (name == "HEAD") // there is no body to wait for
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  else if (!name.empty() && name != "GET")
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, name.c_str());
  else if (method == http_method::put || method == http_method::del)
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, to_string(method));
}

void curl_exchange::set_timeouts() {
  CURL* const easy = easy_.get();
  const auto& to = *request_.endpoint;
  const auto total =
      request_.timeout.value_or(to.connect_timeout + to.read_timeout);
  const bool endless = request_.timeout && total.count() == 0;
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, endless ? 0L : bounded_ms(total));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   bounded_ms(to.connect_timeout));
  // A long poll to a host that vanished must not wait for the timeout.
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
#if LIBCURL_VERSION_NUM >= 0x075700
  // Never wait for a resolver thread that hangs in getaddrinfo().
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
}

void curl_exchange::set_tls() {
  const auto& to = *request_.endpoint;
  if (!to.tls)
    return;
  CURL* const easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, to.verify ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST,
                   to.verify && to.verify_name ? 2L : 0L);
  if (!to.ca_cert.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, to.ca_cert.c_str());
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr); // not the system's too
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, ca_cache_seconds);
#endif
  }
  // A resumed session would show a certificate of some time ago.
  if (request_.probe)
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
  if (!to.client_cert.empty())
    curl_easy_setopt(easy, CURLOPT_SSLCERT, to.client_cert.c_str());
  if (!to.client_key.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLKEY, to.client_key.c_str());
    curl_easy_setopt(easy, CURLOPT_KEYPASSWD, ""); // never ask at a terminal
  }
}

bool curl_exchange::add_header(const std::string& line) {
  curl_slist* const longer = curl_slist_append(headers_.get(), line.c_str());
  if (!longer)
    return false;
  (void)headers_.release();
  headers_.reset(longer);
  return true;
}

status curl_exchange::set_headers() {
  // No "Expect: 100-continue" pause, no form type on our bodies.
  bool good = add_header("Expect:") && add_header("Content-Type:");
  for (const http_headers* list :
       {&request_.endpoint->headers, &std::as_const(request_.headers)}) {
    for (const auto& [name, value] : *list) {
      if (name.empty() || !printable(name) || !printable(value) ||
          name.find_first_of(": ") != std::string::npos)
        return error{errc::invalid_argument,
                     "http: unusable header \"" + name.substr(0, 64) + "\""};
      // "name;" is how libcurl spells a header without value.
      std::string line = name;
      line.append(value.empty() ? ";" : ": ").append(value);
      good = good && add_header(line);
    }
  }
  if (!good)
    return error{errc::unavailable, "http: out of memory"};
  curl_easy_setopt(easy_.get(), CURLOPT_HTTPHEADER, headers_.get());
  return success();
}

size_t curl_exchange::on_header(char* data, size_t size, size_t count,
                                void* self) {
  const size_t bytes = size * count;
  auto* const exchange = static_cast<curl_exchange*>(self);
  return exchange->take_header({data, bytes}) ? bytes : 0;
}

size_t curl_exchange::on_body(char* data, size_t size, size_t count,
                              void* self) {
  const size_t bytes = size * count;
  auto* const exchange = static_cast<curl_exchange*>(self);
  // Any other number than `bytes` is a failure to libcurl.
  return exchange->take_body({data, bytes}) ? bytes : bytes + 1;
}

/// Errors of libcurl say that a connect failed, but not on whose side.
curl_socket_t curl_exchange::open_socket(void* self, curlsocktype /*purpose*/,
                                         curl_sockaddr* address) {
  const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
                        address->protocol);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
                 errno == ENOMEM))
    static_cast<curl_exchange*>(self)->exhausted_ = true;
  return fd < 0 ? CURL_SOCKET_BAD : fd;
}

bool curl_exchange::take_header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > limits_.max_header_bytes) {
    stopped_ = stop_reason::header_size;
    return false;
  }
  if (line.substr(0, 5) == "HTTP/") {
    answer_.headers.clear(); // what came before was an interim answer
    return true;
  }
  const auto colon = line.find(':');
  if (colon != std::string_view::npos)
    answer_.headers.emplace_back(trim(line.substr(0, colon)),
                                 trim(line.substr(colon + 1)));
  return true;
}

bool curl_exchange::take_body(std::string_view piece) {
  if (request_.on_chunk) {
    long code = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &code);
    if (code / 100 == 2) {
      if (request_.on_chunk(piece))
        return true;
      stopped_ = stop_reason::refused;
      return false;
    }
  }
  if (request_.body_limit != 0 &&
      answer_.body.size() + piece.size() >= request_.body_limit) {
    answer_.body.append(
        piece.substr(0, request_.body_limit - answer_.body.size()));
    stopped_ = stop_reason::enough;
    return false;
  }
  if (answer_.body.size() + piece.size() > limits_.max_body_bytes) {
    stopped_ = stop_reason::body_size;
    return false;
  }
  answer_.body.append(piece);
  return true;
}

/// Whether the trusted certificates say nothing about the server's, neither
/// good nor bad.
bool curl_exchange::lacks_issuer(CURLcode code) const {
  if (code == CURLE_SSL_CACERT_BADFILE)
    return true; // a system without certificates
  if (code != CURLE_PEER_FAILED_VERIFICATION)
    return false;
  long reason = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_SSL_VERIFYRESULT, &reason);
  // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, _DEPTH_ZERO_SELF_SIGNED_CERT,
  // _SELF_SIGNED_CERT_IN_CHAIN, _UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
  // _UNABLE_TO_VERIFY_LEAF_SIGNATURE of OpenSSL's x509_vfy.h.
  return reason == 2 || (reason >= 18 && reason <= 21);
}

error curl_exchange::explain(CURLcode code) const {
  const auto& to = *request_.endpoint;
  const auto where =
      (to.unix_path.empty() ? to.authority() : "unix:" + to.unix_path) + ": ";
  switch (stopped_) {
  case stop_reason::body_size:
    return {errc::too_large, where + "the answer is larger than " +
                                 std::to_string(limits_.max_body_bytes) +
                                 " bytes"};
  case stop_reason::header_size:
    return {errc::too_large, where + "the answer's headers are larger than " +
                                 std::to_string(limits_.max_header_bytes) +
                                 " bytes"};
  case stop_reason::refused:
    return {errc::cancelled, where + "ended by the reader"};
  case stop_reason::enough:
  case stop_reason::none:
    break;
  }
  if (request_.probe &&
      (exhausted_ || code == CURLE_OUT_OF_MEMORY || code == CURLE_FAILED_INIT))
    return {errc::exhausted, where + "no descriptor or memory left here"};
  const char* const text =
      text_[0] != '\0' ? text_.data() : curl_easy_strerror(code);
  if (request_.probe && to.ca_cert.empty() && lacks_issuer(code))
    return {errc::invalid_argument,
            where + "TLS: " + text +
                ": this system does not know who issued its certificate; "
                "ssl/ca_cert must name a file that does"};
  return {code_of(code), where + (is_tls_error(code) ? "TLS: " : "") + text};
}

result<http_response> curl_exchange::finish(CURLcode code) {
  if (code != CURLE_OK && stopped_ != stop_reason::enough)
    return explain(code);
  long status_code = 0;
  curl_off_t elapsed = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status_code);
  curl_easy_getinfo(easy_.get(), CURLINFO_TOTAL_TIME_T, &elapsed);
  answer_.status = static_cast<int>(status_code);
  answer_.elapsed = std::chrono::microseconds(elapsed);
  return std::move(answer_);
}

} // namespace zedcup
