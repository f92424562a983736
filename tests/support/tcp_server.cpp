#include "support/tcp_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace zedcup::test {
namespace {

/// A listening socket on that port, or -1.
int listen_on(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      listen(fd, 64) == 0)
    return fd;
  close(fd);
  return -1;
}

uint16_t next_candidate() {
  static unsigned first = 21000;
  static unsigned last = 21999;
  static std::atomic<unsigned> offset{[] {
    if (const char* range = std::getenv("ZEDCUP_TEST_PORTS"))
      if (std::sscanf(range, "%u-%u", &first, &last) != 2)
        throw std::runtime_error("ZEDCUP_TEST_PORTS: expected FIRST-LAST");
    return static_cast<unsigned>(getpid()) * 37;
  }()};
  return static_cast<uint16_t>(first + offset++ % (last - first + 1));
}

/// A listening socket on some port of the range.
int listen_anywhere(uint16_t& port) {
  for (int tries = 0; tries < 1000; ++tries) {
    port = next_candidate();
    const int fd = listen_on(port);
    if (fd >= 0)
      return fd;
  }
  throw std::runtime_error("no free port for tests");
}

size_t content_length(const std::string& head) {
  const auto at = head.find("Content-Length: ");
  return at == std::string::npos
             ? 0
             : std::strtoul(head.c_str() + at + 16, nullptr, 10);
}

} // namespace

uint16_t free_port() {
  uint16_t port = 0;
  close(listen_anywhere(port));
  return port;
}

std::string tcp_server::connection::read_request() const {
  std::string text;
  char buffer[16384];
  for (;;) {
    const auto head = text.find("\r\n\r\n");
    if (head != std::string::npos &&
        text.size() >= head + 4 + content_length(text))
      return text;
    const auto got = recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0)
      return {};
    text.append(buffer, static_cast<size_t>(got));
  }
}

bool tcp_server::connection::send(std::string_view text) const {
  while (!text.empty()) {
    const auto sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0)
      return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void tcp_server::connection::wait_for_close() const {
  char buffer[4096];
  while (recv(fd_, buffer, sizeof buffer, 0) > 0) {
  }
}

tcp_server::tcp_server(script run) : script_(std::move(run)) {
  listener_ = listen_anywhere(port_);
  acceptor_ = std::thread([this] { accept_loop(); });
}

tcp_server::~tcp_server() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const int fd : open_)
      shutdown(fd, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (auto& worker : workers_)
    worker.join();
  close(listener_);
}

size_t tcp_server::accepted() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return accepted_;
}

void tcp_server::accept_loop() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0)
      return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) {
      close(fd);
      return;
    }
    ++accepted_;
    open_.push_back(fd);
    workers_.emplace_back([this, fd] { serve(fd); });
  }
}

void tcp_server::serve(int fd) {
  connection peer(fd);
  script_(peer);
  const std::lock_guard<std::mutex> lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), fd));
  close(fd);
}

std::string http_answer(std::string_view body, std::string_view status,
                        std::string_view extra_headers) {
  return "HTTP/1.1 " + std::string(status) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(extra_headers) + "\r\n" + std::string(body);
}

} // namespace zedcup::test
