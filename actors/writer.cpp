#include "actors/writer.hpp"

#include <chrono>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "actors/guard.hpp"
#include "config/decode.hpp"
#include "store/write_plan.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;

constexpr std::string_view down_mark = "/_down_by_zedcup";
constexpr unsigned attempts_limit = 5;
constexpr milliseconds first_retry{100}; ///< doubling: 1.5 s in all
constexpr std::chrono::seconds commit_timeout{15};
/// No new attempt after this: somebody waits for the answer.
constexpr std::chrono::seconds patience{5};

/// One order on its way.
struct job {
  std::shared_ptr<write_ask> ask;         ///< null: nobody asked, there is
  std::shared_ptr<const kv_entry> record; ///< a redo record to be completed
  std::string instance;                   ///< empty: the global settings
  kv_leaves leaves;
  std::optional<write_plan> plan;
  unsigned attempts = 0;
  caf::actor_clock::time_point begun{};
  uint64_t revision = 0; ///< highest that a commit returned
};

struct writer_state {
  static inline const char* name = "zedcup.writer";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::unordered_map<uint64_t, job> jobs;
  uint64_t next_job = 1;
  std::mt19937_64 random{std::random_device{}()};

  commit_limits limits() const {
    if (auto* consul = std::get_if<consul_options>(&ctx->options.store))
      return consul->limits;
    if (auto* etcd = std::get_if<etcd_options>(&ctx->options.store))
      return etcd->limits();
    // One SQLite transaction takes anything.
    return {size_t{1} << 24, size_t{1} << 30};
  }

  std::string new_id() {
    char text[33];
    snprintf(text, sizeof(text), "%016llx%016llx",
             static_cast<unsigned long long>(random()),
             static_cast<unsigned long long>(random()));
    return text;
  }

  // ---- checking ------------------------------------------------------------

  void on_wanted(const msg::write_wanted& wanted) {
    job fresh;
    fresh.ask = wanted.ask;
    fresh.instance = wanted.ask->order().instance;
    auto checked = check(fresh);
    if (!checked)
      return fresh.ask->answer(checked.error().message, 0);
    begin(std::move(fresh));
  }

  status check(job& fresh) {
    auto& order = fresh.ask->order();
    if (!order.instance.empty()) {
      auto complaint = check_instance_name(order.instance);
      if (!complaint.empty())
        return error{errc::invalid_argument, "instance name: " + complaint};
    }
    if (order.remove)
      return success();
    auto root = tree_from_json(order.json);
    if (!root)
      return root.error();
    auto complaint =
        order.instance.empty()
            ? first_complaint(decode_global(*root))
            : first_complaint(decode_instance(order.instance, *root));
    if (!complaint.empty())
      return error{errc::invalid_argument, std::move(complaint)};
    fresh.leaves = storable_leaves(*root);
    // An instance without any key would not exist.
    if (fresh.leaves.empty() && !order.instance.empty())
      fresh.leaves.emplace_back("ssl", "false");
    return success();
  }

  template <class T>
  std::string first_complaint(const decoded<T>& checked) {
    for (auto& d : checked.diagnostics) {
      if (d.severity == diagnostic::level::error)
        return lua_path(d.path) + ": " + d.message;
      ctx->log->info("{}: {}", lua_path(d.path), d.message);
    }
    return checked.value ? "" : "nothing usable in it";
  }

  /// What handler:config() adds for reading (`_idx`, `_pool`) is not stored. A
  /// host that it shows as taken down by zedcup is stored as up: what is known
  /// of it is cleared by this write, and read as an operator's own, the `false`
  /// would keep it down for ever.
  static kv_leaves storable_leaves(const tree& root) {
    auto all = root.flatten();
    std::unordered_set<std::string> ours;
    for (auto& [path, text] : all)
      if (ends_with(path, down_mark) && text == "true")
        ours.insert(path.substr(0, path.size() - down_mark.size()) + "/up");
    kv_leaves kept;
    for (auto& leaf : all) {
      auto& path = leaf.first;
      // The empty path is a text of the root's own: empty, or it would have
      // been complained about.
      if (path.empty() || path.front() == '_' ||
          path.find("/_") != std::string::npos)
        continue;
      if (leaf.second == "false" && ours.count(path) != 0)
        continue;
      kept.push_back(std::move(leaf));
    }
    return kept;
  }

  static bool ends_with(std::string_view text, std::string_view tail) {
    return text.size() >= tail.size() &&
           text.substr(text.size() - tail.size()) == tail;
  }

  // ---- committing ----------------------------------------------------------

  void begin(job fresh) {
    auto id = next_job++;
    fresh.begun = self->clock().now();
    jobs.emplace(id, std::move(fresh));
    attempt(id);
  }

  result<write_plan> make_plan(const job& work) {
    auto& prefix = ctx->options.prefix;
    auto& instance = work.instance;
    if (work.record)
      return write_plan::complete_pending(prefix, instance, *work.record,
                                          limits());
    if (work.ask->order().remove)
      return write_plan::remove_instance(prefix, instance);
    if (instance.empty())
      return write_plan::replace_config(prefix, work.leaves, limits());
    return write_plan::replace_instance(prefix, instance, work.leaves, new_id(),
                                        limits());
  }

  void attempt(uint64_t id) {
    auto& work = jobs.at(id);
    ++work.attempts;
    auto plan = make_plan(work);
    if (!plan)
      return finish(id, plan.error().message);
    work.plan.emplace(std::move(*plan));
    step(id);
  }

  void step(uint64_t id) {
    auto& work = jobs.at(id);
    auto ops = work.plan->next();
    if (!ops)
      return finish(id, {});
    auto store = lookup(self->system(), place::store);
    if (!store)
      return on_failure(id, {errc::unavailable, "the store is restarting"});
    self->request(store, commit_timeout, msg::commit_order{std::move(*ops)})
        .then(
            [this, id](const msg::commit_reply& reply) {
              on_commit(id, reply.outcome);
            },
            [this, id](const caf::error& failure) {
              on_failure(
                  id, {errc::unavailable, "the store does not answer: " +
                                              self->system().render(failure)});
            });
  }

  void on_commit(uint64_t id, const result<commit_result>& outcome) {
    if (!outcome)
      return on_failure(id, outcome.error());
    auto& work = jobs.at(id);
    work.revision = std::max(work.revision, outcome->revision);
    work.plan->committed(*outcome);
    step(id);
  }

  void on_failure(uint64_t id, const error& failure) {
    auto& work = jobs.at(id);
    bool passing = failure.code == errc::unavailable ||
                   failure.code == errc::timed_out ||
                   failure.code == errc::bad_answer;
    const auto spent = self->clock().now() - work.begun;
    if (!passing || work.attempts >= attempts_limit || spent > patience)
      return finish(id, failure.message);
    auto delay = first_retry * (1 << (work.attempts - 1));
    self->delayed_send(self, delay, msg::retry_order{id});
  }

  void finish(uint64_t id, const std::string& problem) {
    auto work = std::move(jobs.at(id));
    jobs.erase(id);
    if (work.ask)
      return work.ask->answer(problem, work.revision);
    if (!problem.empty())
      ctx->log->error("{}: cannot be completed: {}", work.record->key, problem);
  }
};

caf::behavior writer(caf::stateful_actor<writer_state>* self, context_ptr ctx) {
  log_exceptions(self, ctx);
  self->state.self = self;
  self->state.ctx = std::move(ctx);
  return {
      [=](const msg::write_wanted& wanted) { self->state.on_wanted(wanted); },
      [=](const msg::retry_order& due) {
        if (self->state.jobs.count(due.job) != 0)
          self->state.attempt(due.job);
      },
      [=](const msg::complete_pending& found) {
        job fresh;
        fresh.instance = found.instance;
        fresh.record = found.record;
        self->state.begin(std::move(fresh));
      },
  };
}

} // namespace

caf::actor spawn_writer(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(writer, std::move(ctx));
}

void tell_writer(caf::actor_system& sys, outbox<loop_message>* out,
                 write_order order) {
  auto ask = std::make_shared<write_ask>(out, std::move(order));
  if (auto target = lookup(sys, place::writer))
    return caf::anon_send(target, msg::write_wanted{std::move(ask)});
  ask->answer("the writer is being restarted", 0);
}

} // namespace zedcup
