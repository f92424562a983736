// RapidJSON as the stores use it: parse without recursion (untrusted input
// must not exhaust a stack), look up without asserts. Any thread.
#pragma once

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <optional>
#include <string>
#include <string_view>

namespace zedcup::json {

/// Parses a whole text; false when it is not JSON.
inline bool parse(rapidjson::Document& into, std::string_view text) {
  into.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  return !into.HasParseError();
}

/// The member of an object, or nullptr.
inline const rapidjson::Value* find(const rapidjson::Value& object,
                                    const char* name) {
  if (!object.IsObject())
    return nullptr;
  const auto found = object.FindMember(name);
  return found == object.MemberEnd() ? nullptr : &found->value;
}

inline std::string_view text_of(const rapidjson::Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

/// The text member of that name; nullopt when absent or of another type.
inline std::optional<std::string_view> find_text(const rapidjson::Value& object,
                                                 const char* name) {
  const auto* const value = find(object, name);
  if (!value || !value->IsString())
    return std::nullopt;
  return text_of(*value);
}

inline std::optional<uint64_t> find_uint(const rapidjson::Value& object,
                                         const char* name) {
  const auto* const value = find(object, name);
  if (!value || !value->IsUint64())
    return std::nullopt;
  return value->GetUint64();
}

using writer = rapidjson::Writer<rapidjson::StringBuffer>;

inline void put_text(writer& out, std::string_view text) {
  out.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

/// A value as an operator would recognise it, cut at 64 bytes.
inline std::string show(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  writer out(buffer);
  value.Accept(out);
  std::string text(buffer.GetString(), buffer.GetSize());
  if (text.size() > 64)
    text = text.substr(0, 61) + "...";
  return text;
}

} // namespace zedcup::json
