#include "actors/kept_file.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace zedcup {

namespace {

constexpr std::chrono::seconds save_interval{1};
/// How often the file says that the store still holds the same; and how often
/// a file that could not be written is tried again.
constexpr std::chrono::seconds confirm_interval{60};

} // namespace

kept_file::kept_file(caf::event_based_actor* self, context_ptr ctx,
                     std::string path)
    : self_(self), ctx_(std::move(ctx)), path_(std::move(path)),
      store_(ctx_->options.store_name()) {}

void kept_file::begin() {
  ++generation_;
  load();
  later(confirm_interval, verb::confirm);
}

void kept_file::end() {
  flush();
  ++generation_;
  content_.clear();
  read_ = troubled_ = changed_ = waiting_ = false;
}

void kept_file::flush() {
  if (waiting_)
    save();
}

void kept_file::later(std::chrono::milliseconds time, verb what) {
  self_->delayed_send(self_, time, msg::keep_due{what, generation_});
}

void kept_file::on_due(const msg::keep_due& due) {
  if (due.generation != generation_)
    return;
  switch (due.what) {
  case verb::save:
    return save();
  case verb::confirm:
    later(confirm_interval, verb::confirm);
    if (changed_)
      save();
    else if (read_ && !troubled_)
      touch_file(path_);
  }
}

void kept_file::note(const std::string& name, uint64_t revision,
                     const std::string& json) {
  auto& known = content_[name];
  if (known.json == json)
    return;
  known = {name, revision, json};
  changed_ = true;
}

void kept_file::keep_only(const std::vector<std::string>& names) {
  const std::unordered_set<std::string> wanted(names.begin(), names.end());
  for (auto at = content_.begin(); at != content_.end();)
    if (at->first.empty() || wanted.count(at->first) != 0) {
      ++at;
    } else {
      at = content_.erase(at);
      changed_ = true;
    }
  read_ = true;
  if (changed_)
    save_soon();
}

// ---- the file ---------------------------------------------------------------

void kept_file::load() {
  std::vector<std::string> complaints;
  auto found = load_content(path_, store_, complaints);
  for (auto& text : complaints)
    ctx_->log->warn("zedcup_state_dir: {}: {}", path_, text);
  if (!found) {
    if (found.error().code != errc::not_found)
      ctx_->log->warn("zedcup_state_dir: {}", found.error().message);
    return;
  }
  saved_ = found->changed;
  for (auto& entry : found->content.entries)
    content_.insert_or_assign(entry.name, entry);
}

void kept_file::save_soon() {
  if (waiting_)
    return;
  const auto now = self_->clock().now();
  if (!last_save_ || now - *last_save_ >= save_interval)
    return save();
  waiting_ = true;
  const auto rest = *last_save_ + save_interval - now;
  later(std::chrono::ceil<std::chrono::milliseconds>(rest), verb::save);
}

void kept_file::save() {
  waiting_ = false;
  last_save_ = self_->clock().now();
  saved_content all;
  for (auto& [name, entry] : content_) {
    all.entries.push_back(entry);
    all.revision = std::max(all.revision, entry.revision);
  }
  auto problem = write_file(path_, to_text(all, store_));
  changed_ = problem.has_value();
  auto text = problem ? problem->message : std::string();
  if (text == complaint_)
    return;
  complaint_ = std::move(text);
  if (complaint_.empty())
    ctx_->log->info("zedcup_state_dir: {} is written again", path_);
  else
    ctx_->log->warn("zedcup_state_dir: {}; the content is not kept",
                    complaint_);
}

} // namespace zedcup
