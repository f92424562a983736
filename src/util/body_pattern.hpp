// What an answer's body must hold: a text or a regular expression, matched
// with bounds that hostile bodies and patterns cannot exceed. Immutable once
// made; one object may be used from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "util/result.hpp"

namespace zedcup {

/// PCRE2 without JIT keeps its state on the heap, not on the stack, and stops
/// at the limits that are set here: some milliseconds at worst.
class body_pattern {
public:
  /// `spec`: a text, or `~` and a pattern (PCRE2 syntax). Errors:
  /// invalid_argument with PCRE2's words.
  static result<body_pattern> compile(std::string_view spec);

  /// Errors: not_found, or too_large when a limit was reached first.
  status match(std::string_view body) const;

private:
  struct compiled;
  std::string text_;
  std::shared_ptr<const compiled> pattern_; ///< null: a plain text
};

} // namespace zedcup
