// One HTTP exchange on a libcurl easy handle: set up, filled by libcurl's
// callbacks, turned into an answer or an error. Driver's thread only.
#pragma once

#include <curl/curl.h>

#include <array>
#include <memory>

#include "net/http_driver.hpp"
#include "net/http_message.hpp"
#include "util/result.hpp"

namespace zedcup {

struct curl_deleter {
  void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const noexcept {
    curl_slist_free_all(list);
  }
};

/// Pinned in memory: libcurl keeps pointers into it.
class curl_exchange {
public:
  /// `limits` must outlive the exchange.
  curl_exchange(http_request request, const http_driver_options& limits)
      : request_(std::move(request)), limits_(limits) {}
  curl_exchange(const curl_exchange&) = delete;
  curl_exchange& operator=(const curl_exchange&) = delete;

  /// Makes the easy handle. Errors: invalid_argument, unavailable.
  status prepare();

  CURL* handle() const noexcept { return easy_.get(); }

  /// The outcome, once libcurl is done with the handle. Moves the answer out.
  result<http_response> finish(CURLcode code);

private:
  enum class stop_reason { none, body_size, header_size, refused, enough };

  status check() const;
  void set_url();
  void set_version();
  void set_method();
  void set_timeouts();
  void set_tls();
  bool lacks_issuer(CURLcode code) const;
  status set_headers();
  bool add_header(const std::string& line);
  error explain(CURLcode code) const;

  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static curl_socket_t open_socket(void* self, curlsocktype purpose,
                                   curl_sockaddr* address);
  bool take_header(std::string_view line);
  bool take_body(std::string_view piece);

  http_request request_;
  const http_driver_options& limits_;
  std::unique_ptr<curl_slist, curl_deleter> headers_;
  std::unique_ptr<curl_slist, curl_deleter> connect_to_;
  std::array<char, CURL_ERROR_SIZE> text_{};
  http_response answer_;
  size_t header_bytes_ = 0;
  stop_reason stopped_ = stop_reason::none;
  bool exhausted_ = false;
  // Last: destroyed first, while what it points to still lives.
  std::unique_ptr<CURL, curl_deleter> easy_;
};

} // namespace zedcup
