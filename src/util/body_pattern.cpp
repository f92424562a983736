#include "util/body_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "util/text.hpp"

namespace zedcup {

namespace {

constexpr uint32_t match_limit = 200'000;
constexpr uint32_t heap_limit_kb = 4096;

struct deleter {
  void operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const noexcept {
    pcre2_match_data_free(data);
  }
  void operator()(pcre2_match_context* context) const noexcept {
    pcre2_match_context_free(context);
  }
};

std::string words_of(int code) {
  unsigned char text[256] = {};
  if (pcre2_get_error_message(code, text, sizeof text) < 0)
    return "error " + std::to_string(code);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

} // namespace

struct body_pattern::compiled {
  std::unique_ptr<pcre2_code, deleter> code;
};

result<body_pattern> body_pattern::compile(std::string_view spec) {
  body_pattern made;
  if (spec.empty() || spec.front() != '~') {
    made.text_ = spec;
    return made;
  }
  spec.remove_prefix(1);
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto pattern = std::make_shared<compiled>();
  // \C could read half a character, and nothing here needs it.
  pattern->code.reset(pcre2_compile(units(spec), spec.size(),
                                    PCRE2_NEVER_BACKSLASH_C, &code, &offset,
                                    nullptr));
  if (!pattern->code)
    return error{errc::invalid_argument,
                 words_of(code) + " at offset " + std::to_string(offset)};
  made.pattern_ = std::move(pattern);
  made.text_ = spec;
  return made;
}

status body_pattern::match(std::string_view body) const {
  if (!pattern_) {
    if (body.find(text_) != std::string_view::npos)
      return success();
    return error{errc::not_found, "the body lacks " + quoted(text_)};
  }
  const std::unique_ptr<pcre2_match_context, deleter> limits(
      pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_match_data, deleter> data(
      pcre2_match_data_create(1, nullptr));
  if (!limits || !data)
    return error{errc::too_large, "the body cannot be matched: no memory"};
  pcre2_set_match_limit(limits.get(), match_limit);
  pcre2_set_depth_limit(limits.get(), match_limit);
  pcre2_set_heap_limit(limits.get(), heap_limit_kb);
  const int found = pcre2_match(pattern_->code.get(), units(body), body.size(),
                                0, 0, data.get(), limits.get());
  if (found >= 0)
    return success();
  if (found == PCRE2_ERROR_NOMATCH)
    return error{errc::not_found,
                 "the body does not match " + quoted("~" + text_)};
  return error{errc::too_large, "the body cannot be matched with " +
                                    quoted("~" + text_) + ": " +
                                    words_of(found)};
}

} // namespace zedcup
