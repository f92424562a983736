// tree_from_json and tree_to_json.
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include "config/json_writer.hpp"
#include "config/tree_cursor.hpp"
#include "util/text.hpp"

namespace zedcup {

namespace {

using rapidjson::SizeType;

// Receives RapidJSON's events. Nodes are made when their value arrives, so
// that a null leaves nothing behind.
class tree_builder
    : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, tree_builder> {
public:
  explicit tree_builder(tree& root) : root_{&root, 0} {}

  bool Null() {
    if (!open_.empty())
      ++open_.back().elements;
    return true;
  }
  bool Bool(bool value) { return scalar(value ? "true" : "false"); }
  bool RawNumber(const char* text, SizeType length, bool /*copy*/) {
    return scalar({text, length});
  }
  bool String(const char* text, SizeType length, bool /*copy*/) {
    return encoded({text, length}) && scalar({text, length});
  }
  bool Key(const char* text, SizeType length, bool /*copy*/) {
    key_.assign(text, length);
    if (!encoded(key_))
      return false;
    if (key_.find_first_not_of('/') != std::string::npos)
      return true;
    complaint_ = "an empty key";
    return false;
  }
  bool StartObject() { return start(false); }
  bool StartArray() { return start(true); }
  bool EndObject(SizeType /*members*/) { return end(); }
  bool EndArray(SizeType /*elements*/) { return end(); }

  /// Why the builder stopped the parser, empty when it did not.
  const std::string& complaint() const { return complaint_; }

private:
  struct table {
    tree_cursor at;
    bool is_array;
    uint32_t elements; // so far, of an array
  };

  // RapidJSON lets the escape of a lone low surrogate pass.
  bool encoded(std::string_view text) {
    if (is_utf8(text))
      return true;
    complaint_ = "a lone surrogate";
    return false;
  }

  // The node of the value that comes now, or false when it would be too deep.
  bool place(tree_cursor& at) {
    if (open_.empty()) {
      at = root_;
      return true;
    }
    table& parent = open_.back();
    at = parent.at;
    ++parent.elements;
    if (at.descend(parent.is_array ? std::to_string(parent.elements) : key_))
      return true;
    complaint_ = "nested too deep";
    return false;
  }

  bool scalar(std::string_view text) {
    tree_cursor at;
    if (!place(at))
      return false;
    at.node->text.emplace(text);
    return true;
  }

  bool start(bool is_array) {
    tree_cursor at;
    if (!place(at))
      return false;
    open_.push_back({at, is_array, 0});
    return true;
  }

  bool end() {
    open_.pop_back();
    return true;
  }

  tree_cursor root_;
  std::vector<table> open_;
  std::string key_;
  std::string complaint_;
};

error bad_json(std::string_view what, size_t offset) {
  if (what.back() == '.') // RapidJSON's texts are sentences
    what.remove_suffix(1);
  return {errc::bad_answer, "not usable as JSON: " + std::string{what} +
                                " at offset " + std::to_string(offset)};
}

} // namespace

result<tree> tree_from_json(std::string_view json) {
  constexpr unsigned flags = rapidjson::kParseIterativeFlag |
                             rapidjson::kParseValidateEncodingFlag |
                             rapidjson::kParseNumbersAsStringsFlag;
  tree root;
  tree_builder builder{root};
  rapidjson::MemoryStream in{json.data(), json.size()};
  rapidjson::Reader reader;
  const auto outcome = reader.Parse<flags>(in, builder);
  if (!builder.complaint().empty())
    return bad_json(builder.complaint(), outcome.Offset());
  if (outcome.IsError())
    return bad_json(rapidjson::GetParseError_En(outcome.Code()),
                    outcome.Offset());
  // RapidJSON takes a NUL byte for the end.
  if (in.Tell() != json.size())
    return bad_json("a NUL byte", in.Tell());
  return root;
}

std::string tree_to_json(const tree& node) {
  json_writer out;
  out.value(node);
  return out.take();
}

} // namespace zedcup
