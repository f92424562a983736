// One HTTP exchange as plain values: where to, what, and what came back.
// Built and read on any thread; nothing here does I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace zedcup {

using http_headers = std::vector<std::pair<std::string, std::string>>;

/// A server and how to talk to it. Immutable once shared with requests.
struct http_endpoint {
  bool tls = false;               ///< https
  std::string host = "127.0.0.1"; ///< name or address; IPv6 without brackets
  uint16_t port = 80;
  std::string unix_path; ///< not empty: connect to this socket instead
  std::chrono::milliseconds connect_timeout{2000}; ///< name, TCP and TLS
  /// For the whole answer of a short call, counted from the start.
  std::chrono::milliseconds read_timeout{10000};

  bool verify = true; ///< TLS: check the certificate and its name
  /// TLS: the name sent as SNI and Host and expected in the certificate, while
  /// the connection still goes to `host`. Empty: `host` itself.
  std::string sni_host;
  bool verify_name = true; ///< TLS: false checks the chain only
  std::string ca_cert; ///< PEM file, alone trusted; empty: the system's store
  std::string client_cert; ///< PEM file
  std::string client_key;  ///< PEM file

  http_headers headers; ///< sent with every request (tokens)

  /// "host:port", IPv6 in brackets: for URLs and for messages.
  std::string authority() const;
};

enum class http_method { get, put, post, del };

/// Upper-case name of a method ("DELETE").
const char* to_string(http_method method) noexcept;

struct http_request {
  std::shared_ptr<const http_endpoint> endpoint; ///< must be set
  http_method method = http_method::get;
  std::string
      method_name; ///< any other method; not empty: in place of `method`
  /// Path and query, percent-encoded, from the first "/" on.
  std::string target = "/";
  http_headers headers; ///< besides the endpoint's
  std::string body;     ///< sent with put and post

  /// Bound for the whole exchange. nullopt: connect_timeout + read_timeout of
  /// the endpoint. Zero: none (streams; end them with http_driver::cancel).
  std::optional<std::chrono::milliseconds> timeout;

  /// Use a fresh connection and close it afterwards.
  bool close_after = false;

  /// Where not 0: read so much of the body, then end the exchange as if that
  /// were all of it.
  size_t body_limit = 0;
  bool connect_only = false; ///< connect (and TLS) is all; status stays 0
  bool http2 = false;        ///< HTTP/2: prior knowledge, or TLS with ALPN

  /// A health check: what fails for want of descriptors or memory of this
  /// process is errc::exhausted, a certificate that cannot be judged for want
  /// of a `ca_cert` is errc::invalid_argument, no TLS session is resumed, and
  /// buffers are small.
  bool probe = false;

  /// Streams: called on the driver's thread with each piece of the body as it
  /// comes, never for a status other than 2xx; the response's `body` stays
  /// empty then. A piece is not a message. False ends the exchange (cancelled).
  std::function<bool(std::string_view)> on_chunk;
};

struct http_response {
  int status = 0;
  http_headers headers; ///< as received, in order
  std::string body;
  std::chrono::microseconds elapsed{0};

  /// The first header of that name, case ignored. The view lives as long as
  /// `headers` stays unchanged.
  std::optional<std::string_view> header(std::string_view name) const;
};

/// Percent-encodes all but RFC 3986's unreserved bytes, and "/" where
/// `keep_slashes` (paths).
std::string percent_encode(std::string_view text, bool keep_slashes);

} // namespace zedcup
