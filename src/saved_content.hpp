// What a store held when it was read last, as a file: what a start without the
// store begins with. Pure but for read_file() and write_file(), which block.
//
// The file is text. Its first line says what it is, as JSON; then comes a line
// an entry: its name and revision as JSON, a tab, and its content, which is
// JSON without line breaks. A line that is damaged spoils no other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.hpp"

namespace zedcup {

struct saved_content {
  struct entry {
    std::string name; ///< of an instance or service; empty: global settings
    uint64_t revision = 0;
    std::string json;
  };
  uint64_t revision = 0; ///< the store's, when all of it was read
  std::vector<entry> entries;
};

/// Where the content of a store is kept in a folder: instances, and peers.
std::string saved_path(const std::string& folder, std::string_view store);
std::string saved_peers_path(const std::string& folder, std::string_view store);

std::string to_text(const saved_content& content, std::string_view store);

/// Errors: bad_answer, where it is no such file or another store's. Entries
/// that are damaged or cut off are left out, with a line in `complaints`.
result<saved_content> from_text(std::string_view text, std::string_view store,
                                std::vector<std::string>& complaints);

struct read_file_result {
  std::string text;
  uint64_t changed = 0; ///< unix time of its last change, or touch_file()
};

/// Errors: not_found, unavailable, too_large (over 1 GiB); they name the file.
result<read_file_result> read_file(const std::string& path);

struct loaded_content {
  saved_content content;
  uint64_t changed = 0; ///< as in read_file_result
};

/// read_file() and from_text(). Errors of either, which name the file.
result<loaded_content> load_content(const std::string& path,
                                    std::string_view store,
                                    std::vector<std::string>& complaints);

/// Beside the old one, with all of it on the disk, and then in its place.
/// nullopt: done. The file is for its owner only.
std::optional<error> write_file(const std::string& path, std::string_view text);

/// Makes it look as if it was written now.
void touch_file(const std::string& path) noexcept;

} // namespace zedcup
