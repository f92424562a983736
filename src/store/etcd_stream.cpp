#include "store/etcd_stream.hpp"

namespace zedcup {

/// Follows braces outside of texts; true when the object ends with `c`.
bool json_splitter::take(char c) {
  if (in_text_) {
    if (escaped_)
      escaped_ = false;
    else if (c == '\\')
      escaped_ = true;
    else if (c == '"')
      in_text_ = false;
    return false;
  }
  if (c == '"')
    in_text_ = true;
  else if (c == '{')
    ++depth_;
  else if (c == '}')
    return --depth_ == 0;
  return false;
}

bool json_splitter::feed(
    std::string_view piece,
    const std::function<void(std::string_view)>& on_object) {
  for (size_t i = 0; i < piece.size() && !failed_; ++i) {
    const char c = piece[i];
    if (depth_ == 0) {
      if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        continue;
      if (c != '{') {
        failed_ = true;
        break;
      }
    }
    object_ += c;
    if (take(c)) {
      on_object(object_);
      object_.clear();
    } else if (object_.size() > longest_) {
      failed_ = true;
    }
  }
  return !failed_;
}

} // namespace zedcup
