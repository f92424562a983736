// Cuts a stream of JSON objects into objects. One thread at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace zedcup {

/// etcd's gateway sends one object after the other, in pieces that know
/// nothing of where one ends: 100 KB came in pieces of 16.
class json_splitter {
public:
  explicit json_splitter(size_t longest) : longest_(longest) {}

  /// Takes a piece and calls `on_object` for each object that it completes.
  /// False: the stream is no sequence of objects, or one is longer than the
  /// limit; nothing more will come of it.
  bool feed(std::string_view piece,
            const std::function<void(std::string_view)>& on_object);

private:
  bool take(char c);

  size_t longest_;
  std::string object_; ///< what is there of the object under way
  unsigned depth_ = 0;
  bool in_text_ = false;
  bool escaped_ = false;
  bool failed_ = false;
};

} // namespace zedcup
