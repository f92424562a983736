#include "store/write_plan.hpp"

#include "store/json.hpp"

namespace zedcup {
namespace {

using verb = kv_op::verb;

kv_op make_op(verb what, std::string key, std::string value = {},
              uint64_t index = 0) {
  kv_op op;
  op.what = what;
  op.key = std::move(key);
  op.value = std::move(value);
  op.index = index;
  return op;
}

size_t size_of(const kv_op& op) {
  return op.key.size() + op.value.size();
}

size_t size_of(const std::vector<kv_op>& ops) {
  size_t bytes = 0;
  for (const auto& op : ops)
    bytes += size_of(op);
  return bytes;
}

bool fits(const std::vector<kv_op>& ops, const commit_limits& limits) {
  return ops.size() <= limits.max_ops && size_of(ops) <= limits.max_bytes;
}

std::string_view without_slash(std::string_view prefix) {
  while (!prefix.empty() && prefix.back() == '/')
    prefix.remove_suffix(1);
  return prefix;
}

/// `<prefix>/<kind>/<name>/`: the slash at the end keeps "foobar" out of a
/// removal of "foo".
std::string folder(std::string_view prefix, std::string_view kind,
                   std::string_view name = {}) {
  std::string text(without_slash(prefix));
  text.append("/").append(kind).append("/");
  if (!name.empty())
    text.append(name).append("/");
  return text;
}

error invalid(const std::string& text) {
  return {errc::invalid_argument, text};
}

status check_names(std::string_view prefix, std::string_view instance) {
  if (without_slash(prefix).empty())
    return invalid("an empty key prefix");
  if (instance.empty() || instance.find('/') != std::string_view::npos)
    return invalid("unusable instance name \"" + std::string(instance) + "\"");
  return success();
}

status check_paths(const kv_leaves& leaves) {
  for (const auto& [path, value] : leaves)
    if (path.empty() || path.front() == '/' ||
        std::string_view(path).substr(0, path.find('/')) == pending_key)
      return invalid("unusable key \"" + path + "\"");
  return success();
}

std::vector<kv_op> removal(std::string_view prefix, std::string_view instance) {
  return {make_op(verb::remove_tree, folder(prefix, "instances", instance)),
          make_op(verb::remove_tree, folder(prefix, "state", instance))};
}

std::vector<kv_op> make_sets(const std::string& root, const kv_leaves& leaves) {
  std::vector<kv_op> sets;
  sets.reserve(leaves.size());
  for (const auto& [path, value] : leaves)
    sets.push_back(make_op(verb::set, root + path, value));
  return sets;
}

std::string write_record(std::string_view id, const kv_leaves& leaves) {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  out.StartObject();
  out.Key("id");
  json::put_text(out, id);
  out.Key("leaves");
  out.StartObject();
  for (const auto& [path, value] : leaves) {
    json::put_text(out, path);
    json::put_text(out, value);
  }
  out.EndObject();
  out.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

error too_large(const std::string& what, const std::vector<kv_op>& ops,
                const commit_limits& limits) {
  return {errc::too_large, what + ": " + std::to_string(size_of(ops)) +
                               " bytes in " + std::to_string(ops.size()) +
                               " operations, where the store takes " +
                               std::to_string(limits.max_bytes) + " and " +
                               std::to_string(limits.max_ops) + " at once"};
}

} // namespace

result<pending_record> parse_pending(std::string_view value) {
  const auto bad = [](const char* why) {
    return error{errc::bad_answer, std::string("_pending: ") + why};
  };
  rapidjson::Document document;
  if (!json::parse(document, value))
    return bad("not JSON");
  const auto id = json::find_text(document, "id");
  const auto* const leaves = json::find(document, "leaves");
  if (!id || !leaves || !leaves->IsObject())
    return bad("no id or no leaves");
  pending_record record;
  record.id = *id;
  record.leaves.reserve(leaves->MemberCount());
  for (const auto& [path, leaf] : leaves->GetObject()) {
    if (!leaf.IsString())
      return bad("a leaf that is no text");
    record.leaves.emplace_back(json::text_of(path), json::text_of(leaf));
  }
  if (!check_paths(record.leaves))
    return bad("a path that is none");
  return record;
}

result<write_plan> write_plan::replace_instance(std::string_view prefix,
                                                std::string_view instance,
                                                const kv_leaves& leaves,
                                                std::string_view id,
                                                const commit_limits& limits) {
  if (auto good = check_names(prefix, instance); !good)
    return good.error();
  if (auto good = check_paths(leaves); !good)
    return good.error();
  const auto root = folder(prefix, "instances", instance);
  write_plan plan;
  plan.limits_ = limits;
  plan.first_ = removal(prefix, instance);
  plan.sets_ = make_sets(root, leaves);
  auto whole = plan.first_;
  whole.insert(whole.end(), plan.sets_.begin(), plan.sets_.end());
  if (fits(whole, limits)) {
    plan.first_ = std::move(whole);
    plan.sets_.clear();
    return plan;
  }
  plan.record_key_ = root + std::string(pending_key);
  plan.first_.push_back(
      make_op(verb::set, plan.record_key_, write_record(id, leaves)));
  if (!fits(plan.first_, limits))
    return too_large("instance \"" + std::string(instance) + "\"", plan.first_,
                     limits);
  return plan;
}

result<write_plan> write_plan::complete_pending(std::string_view prefix,
                                                std::string_view instance,
                                                const kv_entry& record,
                                                const commit_limits& limits) {
  if (auto good = check_names(prefix, instance); !good)
    return good.error();
  const auto parsed = parse_pending(record.value);
  if (!parsed)
    return parsed.error();
  const auto root = folder(prefix, "instances", instance);
  if (record.key != root + std::string(pending_key))
    return invalid("\"" + record.key + "\" is not the record of \"" +
                   std::string(instance) + "\"");
  write_plan plan;
  plan.limits_ = limits;
  plan.record_key_ = record.key;
  plan.record_index_ = record.modify_index;
  plan.sets_ = make_sets(root, parsed->leaves);
  return plan;
}

result<write_plan> write_plan::remove_instance(std::string_view prefix,
                                               std::string_view instance) {
  if (auto good = check_names(prefix, instance); !good)
    return good.error();
  write_plan plan;
  plan.first_ = removal(prefix, instance);
  return plan;
}

result<write_plan> write_plan::replace_config(std::string_view prefix,
                                              const kv_leaves& leaves,
                                              const commit_limits& limits) {
  if (without_slash(prefix).empty())
    return invalid("an empty key prefix");
  if (auto good = check_paths(leaves); !good)
    return good.error();
  const auto root = folder(prefix, "config");
  write_plan plan;
  plan.first_ = make_sets(root, leaves);
  plan.first_.insert(plan.first_.begin(), make_op(verb::remove_tree, root));
  if (leaves.empty()) {
    // A commit that only removes tells no revision to wait for.
    plan.first_.push_back(make_op(verb::set, root + std::string(pending_key)));
    plan.first_.push_back(
        make_op(verb::remove, root + std::string(pending_key)));
  }
  if (!fits(plan.first_, limits))
    return too_large("the global configuration", plan.first_, limits);
  return plan;
}

/// As many sets as fit, guarded by the record; the last takes it away.
write_plan::batch write_plan::next_batch() const {
  batch made;
  made.ops.push_back(
      make_op(verb::check_index, record_key_, {}, record_index_));
  size_t bytes = size_of(made.ops.front());
  for (made.end = done_; made.end < sets_.size(); ++made.end) {
    const size_t more = size_of(sets_[made.end]);
    const bool full =
        made.ops.size() >= limits_.max_ops || bytes + more > limits_.max_bytes;
    if (full && made.end > done_)
      break;
    bytes += more;
    made.ops.push_back(sets_[made.end]);
  }
  made.last = made.end == sets_.size() && made.ops.size() < limits_.max_ops &&
              bytes + record_key_.size() <= limits_.max_bytes;
  made.last = made.last || done_ == sets_.size();
  if (made.last)
    made.ops.push_back(
        make_op(verb::remove_if, record_key_, {}, record_index_));
  return made;
}

std::optional<std::vector<kv_op>> write_plan::next() const {
  if (finished_)
    return std::nullopt;
  if (!first_.empty())
    return first_;
  return next_batch().ops;
}

void write_plan::committed(const commit_result& result) {
  if (finished_)
    return;
  if (!first_.empty()) {
    finished_ = record_key_.empty();
    if (!finished_) // the record is the last op
      record_index_ = result.indexes.empty() ? 0 : result.indexes.back();
    first_.clear();
    return;
  }
  const auto sent = next_batch();
  done_ = sent.end;
  finished_ = sent.last;
}

} // namespace zedcup
