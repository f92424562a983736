#include "net/tls_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace zedcup {

namespace {

constexpr off_t largest = off_t{1} << 20; // as lua/zedcup/client_cert.lua

/// Empty: it is fine.
std::string problem_of(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return std::generic_category().message(errno);
  struct stat found = {};
  const bool known = fstat(fd, &found) == 0;
  close(fd);
  if (!known || !S_ISREG(found.st_mode))
    return "not a regular file";
  return found.st_size > largest ? "larger than 1 MiB" : "";
}

} // namespace

status check_tls_files(const http_endpoint& to) {
  for (const auto& [key, path] : {std::pair{"ca_cert", &to.ca_cert},
                                  {"client_cert", &to.client_cert},
                                  {"client_key", &to.client_key}}) {
    if (path->empty() || (path == &to.ca_cert && !to.verify))
      continue;
    if (const auto problem = problem_of(*path); !problem.empty())
      return error{errc::invalid_argument,
                   to.authority() + ": " + key + ": " + *path + ": " + problem};
  }
  return success();
}

} // namespace zedcup
