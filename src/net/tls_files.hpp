// The files that an endpoint's TLS needs, looked at before libcurl opens them.
// Any thread.
#pragma once

#include "net/http_message.hpp"
#include "util/result.hpp"

namespace zedcup {

/// Whether they can be read without an end or a wait: paths may come from a
/// store, and OpenSSL would wait for the writer of a pipe, and read a device
/// for ever. Errors: invalid_argument, with the file's path and the reason.
status check_tls_files(const http_endpoint& to);

} // namespace zedcup
