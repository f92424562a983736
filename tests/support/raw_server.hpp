// A server that runs a script on the bare socket of each connection, one after
// the other: for unix sockets, and for what is not HTTP/1.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace zedcup::test {

class raw_server {
public:
  using script = std::function<void(int fd)>;

  /// On a free port of 127.0.0.1, or where `path` is given on that socket.
  explicit raw_server(script run, std::string path = "")
      : run_(std::move(run)), path_(std::move(path)) {
    path_.empty() ? listen_tcp() : listen_unix();
    thread_ = std::thread([this] { accept_loop(); });
  }
  ~raw_server() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    if (!path_.empty())
      unlink(path_.c_str());
  }
  raw_server(const raw_server&) = delete;
  raw_server& operator=(const raw_server&) = delete;

  uint16_t port() const { return port_; }

  /// What comes within 5 s, until the peer ends or `enough` holds.
  static std::string
  read_until(int fd, const std::function<bool(const std::string&)>& enough) {
    std::string seen;
    char piece[4096];
    pollfd ready{fd, POLLIN, 0};
    while (!enough(seen) && poll(&ready, 1, 5000) > 0) {
      const auto count = recv(fd, piece, sizeof piece, 0);
      if (count <= 0)
        break;
      seen.append(piece, static_cast<size_t>(count));
    }
    return seen;
  }
  static std::string read_head(int fd) {
    return read_until(fd, [](const std::string& seen) {
      return seen.find("\r\n\r\n") != std::string::npos;
    });
  }
  static void write(int fd, std::string_view text) {
    (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

private:
  void listen_tcp() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    listen_at(reinterpret_cast<sockaddr*>(&address), size);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  void listen_unix() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    listen_at(reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  void listen_at(const sockaddr* address, socklen_t size) const {
    if (bind(listener_, address, size) != 0 || listen(listener_, 16) != 0)
      throw std::runtime_error("raw_server: cannot listen");
  }
  void accept_loop() {
    while (!stopping_) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0)
        return;
      run_(fd);
      close(fd);
    }
  }

  script run_;
  std::string path_;
  uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

/// Just enough of HTTP/2 to answer one call: what a gRPC server sends, with
/// `message` as the body and `status` as the trailer grpc-status.
class grpc_answer {
public:
  static void serve(int fd, const std::string& message, char status) {
    const auto header = [](std::string_view name, std::string_view value) {
      // RFC 7541, 6.2.2: a literal without indexing, not compressed.
      std::string out(1, '\0');
      out += static_cast<char>(name.size());
      out += name;
      out += static_cast<char>(value.size());
      return out + std::string(value);
    };
    raw_server::read_until(fd, &has_data_frame);
    std::string out = frame(4, 0, 0, "") + frame(4, 1, 0, ""); // SETTINGS, ACK
    out += frame(1, 4, 1, "\x88" + header("content-type", "application/grpc"));
    out += frame(0, 0, 1, message);
    out += frame(1, 5, 1, header("grpc-status", std::string(1, status)));
    raw_server::write(fd, out);
    raw_server::read_until(fd, [](const std::string&) { return false; });
  }

private:
  static std::string frame(char type, char flags, char stream,
                           const std::string& payload) {
    std::string out(3, '\0');
    out[1] = static_cast<char>(payload.size() >> 8);
    out[2] = static_cast<char>(payload.size());
    out += type;
    out += flags;
    return out + std::string(3, '\0') + stream + payload;
  }

  /// Whether the request's body has come: then its headers have too.
  static bool has_data_frame(const std::string& seen) {
    constexpr size_t preface = 24, head = 9;
    for (size_t at = preface; at + head <= seen.size();) {
      const auto byte = [&](size_t i) {
        return static_cast<unsigned char>(seen[at + i]);
      };
      const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
      if (byte(3) == 0 && at + head + size <= seen.size())
        return true;
      at += head + size;
    }
    return false;
  }
};

} // namespace zedcup::test
