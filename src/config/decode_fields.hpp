// Reading one table of a configuration, key by key. Internal to config.
#pragma once

#include <chrono>
#include <limits>

#include "config/decode.hpp"

namespace zedcup {

/// Collects diagnostics, the first hundred of them.
class complaint_log {
public:
  void error(const std::string& path, std::string message) {
    add(diagnostic::level::error, path, std::move(message));
  }
  void notice(const std::string& path, std::string message) {
    add(diagnostic::level::notice, path, std::move(message));
  }

  std::vector<diagnostic> take();

  /// How many errors there were so far, those beyond the hundred included.
  size_t errors() const { return errors_; }

private:
  void add(diagnostic::level severity, const std::string& path,
           std::string message);

  std::vector<diagnostic> kept_;
  size_t more_ = 0;
  size_t errors_ = 0;
  diagnostic::level worst_of_more_ = diagnostic::level::notice;
};

/// Reads the keys of one table. Every reader leaves its output alone when the
/// key is absent or bad; a bad one is logged and makes failed() true.
class table_reader {
public:
  /// All three must outlive the reader. A text beside the table is logged.
  table_reader(const tree& table, const std::string& path, complaint_log& log);

  /// The node of a key, or nullptr when it is absent or an empty table (a
  /// store's "folder"). From then on the key counts as known.
  const tree* take(std::string_view key);

  /// As take(), but keeps empty tables.
  const tree* take_table(std::string_view key);

  /// The text of a key; nullptr when it is absent or (logged) not a leaf.
  const std::string* leaf(std::string_view key);

  /// As leaf(), but an absent key is rejected too.
  const std::string* required_leaf(std::string_view key);

  /// Empty text counts as absent.
  void text(std::string_view key, std::string& out);
  void boolean(std::string_view key, bool& out);

  template <class Number>
  void number(std::string_view key, uint64_t low, uint64_t high, Number& out) {
    if (const auto value = integer(key, low, high))
      out = static_cast<Number>(*value);
  }
  template <class Rep, class Period>
  void duration(std::string_view key, uint64_t low, uint64_t high,
                std::chrono::duration<Rep, Period>& out) {
    if (const auto value = integer(key, low, high))
      out = std::chrono::duration<Rep, Period>{static_cast<Rep>(*value)};
  }

  /// Whether `node` is a table without keys, which no store can hold: worth
  /// a notice.
  bool ignored_as_empty(std::string_view key, const tree& node);

  /// What no call above has taken; each is worth a notice.
  tree unknown();

  /// Logs an error about a key, which makes failed() true.
  void reject(std::string_view key, std::string message);

  bool failed() const { return failed_; }
  std::string path_of(std::string_view key) const;

private:
  std::optional<uint64_t> integer(std::string_view key, uint64_t low,
                                  uint64_t high);

  const tree& table_;
  const std::string& path_;
  complaint_log& log_;
  std::vector<std::string_view> known_;
  bool failed_ = false;
};

/// A copy fit to be kept: UTF-8, without flags, no text beside children
/// (which is logged).
tree kept_copy(const tree& node, const std::string& path, complaint_log& log);

/// Whether `value`, trimmed of white space, is a decimal in low..high.
std::optional<uint64_t> parse_integer(std::string_view value, uint64_t low,
                                      uint64_t high) noexcept;

/// One element of `pools` or `hosts`.
struct list_element {
  uint32_t index;
  std::string path; ///< with the segment as it is spelled
  const tree* node;
};

/// The usable elements of a list, by index. Bad ones are logged.
/// @param dropped set to true when there was a bad one.
std::vector<list_element> list_elements(const tree& list,
                                        const std::string& path,
                                        complaint_log& log, bool& dropped);

} // namespace zedcup
