// Writing JSON: RapidJSON's writer, fed with text that may be anything.
// Internal to config; one writer belongs to one function call.
#pragma once

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "config/tree.hpp"

namespace zedcup {

class json_writer {
public:
  void begin_object() { out_.StartObject(); }
  void end_object() { out_.EndObject(); }
  void begin_array() { out_.StartArray(); }
  void end_array() { out_.EndArray(); }

  /// An object's key; bytes that are not UTF-8 become U+FFFD, in keys and
  /// in strings.
  void key(std::string_view name);
  void string(std::string_view text);
  void number(uint64_t value) { out_.Uint64(value); }
  void boolean(bool value) { out_.Bool(value); }

  /// A value that is JSON already.
  void raw(std::string_view json) {
    out_.RawValue(json.data(), json.size(), rapidjson::kObjectType);
  }

  /// A leaf as number, true/false or string, as it reads.
  void leaf(std::string_view text);

  /// A leaf or a table, as tree_to_json documents.
  void value(const tree& node);

  /// The children of `table` as members of the object that is open.
  void members(const tree& table);

  std::string take() const { return {buffer_.GetString(), buffer_.GetSize()}; }

private:
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> out_{buffer_};
};

} // namespace zedcup
