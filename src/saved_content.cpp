#include "saved_content.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/json.hpp"
#include "util/hash.hpp"

namespace zedcup {

namespace {

constexpr uint64_t layout = 1;
constexpr off_t largest_file = off_t{1} << 30;

/// A descriptor that is closed at the end.
class open_file {
public:
  open_file(const std::string& path, int flags)
      : fd_(open(path.c_str(), flags | O_CLOEXEC, S_IRUSR | S_IWUSR)) {}
  ~open_file() {
    if (fd_ >= 0)
      close(fd_);
  }
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

  bool write_all(std::string_view text) const {
    while (!text.empty()) {
      const auto wrote = write(fd_, text.data(), text.size());
      if (wrote < 0 && errno == EINTR)
        continue;
      if (wrote < 0)
        return false;
      text.remove_prefix(static_cast<size_t>(wrote));
    }
    return true;
  }

  bool read_all(std::string& into) const {
    size_t have = 0;
    while (have < into.size()) {
      const auto got = read(fd_, into.data() + have, into.size() - have);
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        return false;
      if (got == 0)
        break;
      have += static_cast<size_t>(got);
    }
    into.resize(have);
    return true;
  }

private:
  int fd_;
};

error failure(const std::string& path, errc code = errc::unavailable) {
  return {code, path + ": " + std::strerror(errno)};
}

void begin(json::writer& out, std::string_view key, std::string_view text) {
  out.StartObject();
  json::put_text(out, key);
  json::put_text(out, text);
}

void member(json::writer& out, std::string_view key, uint64_t number) {
  json::put_text(out, key);
  out.Uint64(number);
}

void append(std::string& text, const rapidjson::StringBuffer& piece) {
  text.append(piece.GetString(), piece.GetSize());
}

std::optional<saved_content::entry> entry_of(std::string_view line) {
  const auto tab = line.find('\t');
  rapidjson::Document head;
  rapidjson::Document content;
  if (tab == std::string_view::npos || !json::parse(head, line.substr(0, tab)))
    return std::nullopt;
  const auto json = line.substr(tab + 1);
  const auto name = json::find_text(head, "name");
  const auto revision = json::find_uint(head, "revision");
  if (!name || !revision || !json::parse(content, json))
    return std::nullopt;
  return saved_content::entry{std::string(*name), *revision, std::string(json)};
}

std::string hex_hash(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  const uint64_t hash = hash_key(text);
  for (int shift = 60; shift >= 0; shift -= 4)
    hex += digits[(hash >> shift) & 0xf];
  return hex;
}

/// Takes a line, and its end, from the front of a text.
std::string_view take_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const auto line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

} // namespace

std::string saved_path(const std::string& folder, std::string_view store) {
  return folder + "/content." + hex_hash(store);
}

std::string saved_peers_path(const std::string& folder,
                             std::string_view store) {
  return folder + "/peers." + hex_hash(store);
}

std::string to_text(const saved_content& content, std::string_view store) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  begin(out, "store", store);
  member(out, "zedcup_content", layout);
  member(out, "revision", content.revision);
  member(out, "entries", content.entries.size());
  out.EndObject();
  std::string text;
  append(text, buffer);
  text += '\n';
  for (auto& entry : content.entries) {
    buffer.Clear();
    out.Reset(buffer);
    begin(out, "name", entry.name);
    member(out, "revision", entry.revision);
    out.EndObject();
    append(text, buffer);
    text += '\t';
    text += entry.json;
    text += '\n';
  }
  return text;
}

result<saved_content> from_text(std::string_view text, std::string_view store,
                                std::vector<std::string>& complaints) {
  rapidjson::Document head;
  if (!json::parse(head, take_line(text)) ||
      json::find_uint(head, "zedcup_content") != layout)
    return error{errc::bad_answer, "not a file of saved content"};
  const auto whose = json::find_text(head, "store").value_or("");
  if (whose != store)
    return error{errc::bad_answer,
                 "the content of another store: " + std::string(whose)};
  saved_content content;
  content.revision = json::find_uint(head, "revision").value_or(0);
  for (size_t line = 2; !text.empty(); ++line) {
    auto entry = entry_of(take_line(text));
    if (entry)
      content.entries.push_back(std::move(*entry));
    else
      complaints.push_back("line " + std::to_string(line) + " is damaged");
  }
  const auto promised = json::find_uint(head, "entries").value_or(0);
  if (content.entries.size() + complaints.size() < promised)
    complaints.push_back("cut off: " + std::to_string(promised) +
                         " entries were written");
  return content;
}

result<read_file_result> read_file(const std::string& path) {
  const open_file file(path, O_RDONLY);
  struct stat seen {};
  if (!file || fstat(file.get(), &seen) != 0)
    return failure(path, errno == ENOENT ? errc::not_found : errc::unavailable);
  if (seen.st_size > largest_file)
    return error{errc::too_large, path + ": too large"};
  read_file_result found;
  found.changed = static_cast<uint64_t>(seen.st_mtime);
  found.text.resize(static_cast<size_t>(seen.st_size));
  if (!file.read_all(found.text))
    return failure(path);
  return found;
}

result<loaded_content> load_content(const std::string& path,
                                    std::string_view store,
                                    std::vector<std::string>& complaints) {
  auto file = read_file(path);
  if (!file)
    return file.error();
  auto content = from_text(file->text, store, complaints);
  if (!content)
    return error{content.error().code, path + ": " + content.error().message};
  return loaded_content{std::move(*content), file->changed};
}

std::optional<error> write_file(const std::string& path,
                                std::string_view text) {
  const auto fresh = path + "." + std::to_string(getpid()) + ".tmp";
  const open_file file(fresh, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file)
    return failure(fresh);
  if (!file.write_all(text) || fsync(file.get()) != 0 ||
      rename(fresh.c_str(), path.c_str()) != 0) {
    auto problem = failure(fresh);
    unlink(fresh.c_str());
    return problem;
  }
  return std::nullopt;
}

void touch_file(const std::string& path) noexcept {
  (void)utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

} // namespace zedcup
