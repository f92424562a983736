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

/// A value as an operator would recognise it, cut at 64 bytes. Of lists and
/// objects only what lies a few levels deep: a value of a store may be nested
/// as deep as it likes, and RapidJSON writes by recursion.
inline std::string show(const rapidjson::Value& value, int levels = 4) {
  constexpr size_t most = 64;
  if (!value.IsArray() && !value.IsObject()) {
    rapidjson::StringBuffer buffer;
    writer out(buffer);
    value.Accept(out);
    std::string text(buffer.GetString(), buffer.GetSize());
    return text.size() > most ? text.substr(0, most - 3) + "..." : text;
  }
  std::string text(1, value.IsArray() ? '[' : '{');
  const auto add = [&](const std::string& piece) {
    text += (text.size() > 1 ? "," : "") + piece;
    return text.size() <= most;
  };
  if (levels == 0)
    text += "...";
  else if (value.IsArray())
    for (auto at = value.Begin(); at != value.End(); ++at) {
      if (!add(show(*at, levels - 1)))
        break;
    }
  else
    for (auto at = value.MemberBegin(); at != value.MemberEnd(); ++at)
      if (!add(show(at->name) + ":" + show(at->value, levels - 1)))
        break;
  text += value.IsArray() ? ']' : '}';
  return text.size() > most ? text.substr(0, most - 3) + "..." : text;
}

} // namespace zedcup::json
