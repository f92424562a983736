// The runtime's part about hosts that fail: reports of requests on their way to
// the actors, what comes of them, and what Lua asks about it.
#include <utility>

#include "config/json_writer.hpp"
#include "nginx/bridge.hpp"

namespace zedcup {

namespace {

/// Of different hosts that fail in one turn of the loop.
constexpr size_t failures_limit = 1024;
constexpr size_t longest_error = 256;
constexpr std::chrono::seconds apply_patience{10};

std::optional<uint64_t> number_at(const tree& root, const char* key,
                                  uint64_t highest) {
  auto* node = root.find(key);
  if (node == nullptr || !node->is_leaf())
    return std::nullopt;
  uint64_t value = 0;
  for (const char c : *node->text) {
    if (c < '0' || c > '9' || value > highest)
      return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value > highest ? std::nullopt : std::optional<uint64_t>(value);
}

/// The host that Lua names by its place and what it saw there.
bool read_host(std::string_view json, host_ref& host) {
  auto root = tree_from_json(json);
  if (!root)
    return false;
  const auto pool = number_at(*root, "pool", UINT32_MAX);
  const auto index = number_at(*root, "host", UINT32_MAX);
  const auto port = number_at(*root, "port", UINT16_MAX);
  auto* address = root->find("address");
  if (!pool || !index || !port || address == nullptr || !address->is_leaf())
    return false;
  host.pool = static_cast<uint32_t>(*pool);
  host.host = static_cast<uint32_t>(*index);
  host.port = static_cast<uint16_t>(*port);
  host.address = *address->text;
  return true;
}

host_order::verb verb_of(int what) {
  switch (what) {
  case ZEDCUP_ASK_COUNT_ERROR:
    return host_order::verb::count_error;
  case ZEDCUP_ASK_RESET_ERRORS:
    return host_order::verb::reset_errors;
  case ZEDCUP_ASK_NOTE_CHECK:
    return host_order::verb::note_check;
  case ZEDCUP_ASK_TAKE_DOWN:
    return host_order::verb::take_down;
  case ZEDCUP_ASK_BRING_UP:
    return host_order::verb::bring_up;
  default:
    return host_order::verb::read_state;
  }
}

std::string event_json(const host_event& event) {
  json_writer out;
  out.begin_object();
  out.key("up");
  out.boolean(event.up);
  out.key("pool");
  out.number(event.host.pool);
  out.key("host");
  out.number(event.host.host);
  out.key("address");
  out.string(event.host.address);
  out.key("port");
  out.number(event.host.port);
  if (event.by_probe) {
    out.key("healthcheck");
    out.boolean(true);
  }
  if (!event.err.empty()) {
    out.key("err");
    out.string(event.err);
  }
  out.end_object();
  return out.take();
}

} // namespace

// ---- failures of requests --------------------------------------------------

bool runtime::failed(const registry::handle& instance, uint32_t pool,
                     uint32_t host, std::string_view err) {
  auto found =
      marks_.failed(instance, pool, host, err.substr(0, longest_error));
  if (!found)
    return false;
  if (!found->persist)
    return found->marked;
  if (quits_) // a request that outlives the reload for long is waited for too
    quits_ = ngx_current_msec + settle_patience_ms;
  for (auto& known : failures_)
    if (known.host == found->errors.host) {
      ++known.count;
      known.err = std::move(found->errors.err);
      return found->marked;
    }
  if (failures_.empty())
    ngx_http_zedcup_worker_wake(); // comes round at the end of this turn
  if (failures_.size() < failures_limit)
    failures_.push_back(std::move(found->errors));
  return found->marked;
}

void runtime::send_failures() {
  if (!failures_.empty())
    reported_ = system_->report(std::exchange(failures_, {}));
}

// ---- what came of them -----------------------------------------------------

void runtime::on(host_event& message) {
  tell_lua(scope_cluster, message);
  kick();
}

void runtime::on(errors_kept& message) {
  marks_.kept(message.errors);
}

void runtime::on(outcomes_settled& message) {
  settled_ = message.number;
  if (quits_)
    to_lua_.wake();
}

bool runtime::settling() const {
  return (reported_ != settled_ || !failures_.empty()) &&
         (!quits_ || ngx_current_msec < *quits_);
}

void runtime::tell_lua(unsigned scopes, const host_event& event) {
  to_lua_.push({ZEDCUP_MESSAGE_EVENT, scopes, 0, event.host.instance,
                event_json(event)});
}

// ---- orders ----------------------------------------------------------------

uint64_t runtime::ask_host(int what, std::string name, std::string_view json) {
  const auto id = next_ask_++;
  host_order order;
  order.ask_id = id;
  order.what = verb_of(what);
  order.host.instance = std::move(name);
  if (order.what != host_order::verb::read_state &&
      !read_host(json, order.host)) {
    answer(id, "host: unusable");
    return id;
  }
  std::string payload;
  auto problem = marks_.order(order, payload);
  auto* content = instances_.find(order.host.instance);
  if (!problem.empty() || content == nullptr ||
      !content->config().persist_errors) {
    answer(id, std::move(problem), std::move(payload));
    return id;
  }
  for (auto& pool : content->config().pools)
    if (pool.index == order.host.pool)
      order.window = pool.error_timeout;
  system_->order(std::move(order));
  return id;
}

void runtime::on(host_done& message) {
  if (!message.error.empty() || message.revision == 0)
    return answer(message.ask_id, std::move(message.error),
                  std::move(message.payload));
  // Whoever took a host down expects the next request to know.
  kick();
  asks_.add({message.ask_id, ZEDCUP_ASK_TAKE_DOWN, message.host.instance,
             message.revision,
             std::chrono::steady_clock::now() + apply_patience});
  check_asks();
}

} // namespace zedcup
