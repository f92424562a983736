#include "actors/outcomes.hpp"

#include <chrono>
#include <map>
#include <random>
#include <unordered_map>
#include <utility>

#include "actors/guard.hpp"
#include "actors/host_tasks.hpp"

namespace zedcup {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds store_timeout{5}; ///< of one call
constexpr milliseconds shortest_retry{10};
constexpr milliseconds first_retry{100};
constexpr milliseconds last_retry{5000};
constexpr milliseconds conflict_retry{40};
constexpr milliseconds rewrite_retry{500};
constexpr milliseconds first_rest{100};
constexpr milliseconds last_rest{1000};
/// How long errors, revivals and orders are tried for.
constexpr seconds errors_patience{60};
constexpr seconds revival_patience{10};
constexpr seconds order_patience{5};
constexpr unsigned conflicts_limit = 50;
constexpr size_t hosts_limit = 1024;
constexpr size_t tasks_limit = 64; ///< of one host
constexpr seconds complaint_interval{10};

uint64_t unix_now() {
  return static_cast<uint64_t>(
      std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
}

std::string place_of(const host_ref& host) {
  return "pools/" + std::to_string(host.pool) + "/hosts/" +
         std::to_string(host.host);
}

std::string text_of(const host_ref& host) {
  auto text = host.instance + "/" + place_of(host) + " (" + host.address;
  return text + (host.port != 0 ? ":" + std::to_string(host.port) + ")" : ")");
}

/// Its own answers to the reads for one step.
struct reading_job {
  host_reading seen;
  unsigned missing = 0;
  std::optional<error> failure;
};

struct outcomes_state {
  static inline const char* name = "zedcup.outcomes";

  caf::event_based_actor* self = nullptr;
  context_ptr ctx;
  std::map<uint64_t, host_tasks> hosts; ///< by age
  std::unordered_map<std::string, uint64_t> ids;
  uint64_t next_id = 1;
  uint64_t settle_number = 0; ///< to be answered; 0: nobody waits
  bool leaving = false;
  caf::actor_clock::time_point last_complaint{};
  std::minstd_rand random{std::random_device{}()};

  auto now() const { return self->clock().now(); }

  milliseconds jittered(milliseconds delay) {
    std::uniform_int_distribution<int64_t> part(delay.count() / 2,
                                                delay.count());
    return milliseconds{part(random)};
  }

  // ---- what comes in -------------------------------------------------------

  /// The tasks of a host; made where there are none.
  uint64_t id_of(const host_ref& host) {
    auto key = text_of(host);
    auto found = ids.find(key);
    if (found != ids.end())
      return found->second;
    if (hosts.size() >= hosts_limit)
      drop_oldest();
    const auto id = next_id++;
    ids[key] = id;
    auto& made = hosts[id];
    made.host = host;
    made.key = std::move(key);
    return id;
  }

  void drop_oldest() {
    auto victim = hosts.begin();
    while (victim->second.busy && std::next(victim) != hosts.end())
      ++victim;
    const auto id = victim->first;
    while (!victim->second.tasks.empty())
      give_up(victim->second, "too many hosts fail at once");
    forget(id);
  }

  void forget(uint64_t id) {
    ids.erase(hosts.at(id).key);
    hosts.erase(id);
  }

  void on_errors(const host_errors& errors) {
    const auto id = id_of(errors.host);
    // Given up before the node's own mark ends, which is then told in its
    // place.
    const milliseconds patience =
        std::min<milliseconds>(errors.window, errors_patience);
    hosts.at(id).add(errors, now() + patience * 3 / 4);
    go_on(id);
  }

  void on_revival(const msg::revival_due& due) {
    const auto id = id_of(due.host);
    auto& work = hosts.at(id);
    for (auto& task : work.tasks)
      if (task.what == host_task::kind::revival)
        return;
    host_task fresh;
    fresh.what = host_task::kind::revival;
    fresh.by_probe = due.by_probe;
    fresh.deadline = now() + revival_patience;
    work.tasks.push_back(std::move(fresh));
    go_on(id);
  }

  void on_order(std::shared_ptr<host_ask> ask) {
    if (ask->order().what == host_order::verb::read_state)
      return read_state(std::move(ask));
    const auto id = id_of(ask->order().host);
    auto& work = hosts.at(id);
    if (work.tasks.size() >= tasks_limit)
      return ask->answer("too many orders for " + work.key + " at once");
    host_task fresh;
    fresh.what = host_task::kind::order;
    fresh.ask = std::move(ask);
    fresh.deadline = now() + order_patience;
    work.tasks.push_back(std::move(fresh));
    go_on(id);
  }

  void on_settle(const msg::settle_wanted& wanted) {
    settle_number = wanted.number;
    if (wanted.leaving && !std::exchange(leaving, true))
      for (auto at = hosts.begin(); at != hosts.end();)
        go_on((at++)->first);
    check_settled();
  }

  void check_settled() {
    if (settle_number == 0)
      return;
    for (auto& [id, work] : hosts)
      if (!work.tasks.empty())
        return;
    ctx->out->push(outcomes_settled{std::exchange(settle_number, 0)});
  }

  // ---- one host ------------------------------------------------------------

  /// Begins with the first task, unless the host has one under way or rests.
  void go_on(uint64_t id) {
    auto& work = hosts.at(id);
    if (work.busy)
      return;
    if (work.rest_until > now() && (work.tasks.empty() || !may_begin(work)))
      return wait(id, work.rest_until - now());
    if (!work.tasks.empty())
      return read(id);
    forget(id);
    check_settled();
  }

  bool may_begin(const host_tasks& work) const {
    return leaving || work.is_urgent();
  }

  template <class Duration>
  void wait(uint64_t id, Duration delay) {
    self->delayed_send(self, delay, msg::retry_host{id, ++hosts.at(id).step});
  }

  void on_retry(const msg::retry_host& due) {
    auto at = hosts.find(due.id);
    if (at == hosts.end() || at->second.step != due.step)
      return;
    at->second.busy = false;
    go_on(due.id);
  }

  /// As wait(), for the first task: nothing else begins meanwhile.
  void try_again(uint64_t id, milliseconds delay) {
    wait(id, jittered(delay));
    hosts.at(id).busy = true;
  }

  void read(uint64_t id) {
    auto& work = hosts.at(id);
    work.busy = true;
    const auto step = ++work.step;
    auto store = lookup(self->system(), place::store);
    if (!store)
      return on_failure(id, {errc::unavailable, "the store is restarting"});
    auto& prefix = ctx->options.prefix;
    auto job = std::make_shared<reading_job>();
    for (auto& wanted : {host_config_prefix(prefix, work.host),
                         host_state_prefix(prefix, work.host),
                         pending_key_of(prefix, work.host.instance),
                         persist_key_of(prefix, work.host.instance)}) {
      ++job->missing;
      self->request(store, store_timeout, msg::read_order{wanted})
          .then(
              [this, id, step, job](const msg::read_reply& reply) {
                on_part(id, step, *job, reply.content);
              },
              [this, id, step, job](const caf::error& failure) {
                on_part(id, step, *job, silent(failure));
              });
    }
  }

  error silent(const caf::error& failure) {
    return {errc::unavailable,
            "the store does not answer: " + self->system().render(failure)};
  }

  bool is_current(uint64_t id, uint64_t step) const {
    auto at = hosts.find(id);
    return at != hosts.end() && at->second.step == step;
  }

  void on_part(uint64_t id, uint64_t step, reading_job& job,
               const result<std::shared_ptr<const kv_tree>>& part) {
    if (!is_current(id, step))
      return;
    if (part)
      for (auto& entry : (*part)->entries)
        note_entry(job.seen, ctx->options.prefix, hosts.at(id).host, entry);
    else
      job.failure = part.error();
    if (--job.missing != 0)
      return;
    if (job.failure)
      return on_failure(id, *job.failure);
    on_reading(id, job.seen);
  }

  void on_reading(uint64_t id, const host_reading& seen) {
    auto& work = hosts.at(id);
    auto& task = work.tasks.front();
    if (seen.rewriting)
      return now() < task.deadline && !leaving
                 ? try_again(id, rewrite_retry)
                 : abandon(id, "the instance is being rewritten");
    if (!is_same_host(seen, work.host))
      return gone(id);
    if (!seen.persist)
      return kept(id);
    if (work.unsure && work.unsure->is_done(seen))
      return committed(id, std::move(work.unsure->change), 0);
    work.unsure.reset();
    auto change = task.plan(ctx->options.prefix, work.host, seen, unix_now());
    if (task.what == host_task::kind::order && change.by_operator &&
        task.ask->order().what == host_order::verb::bring_up)
      return abandon(id, "an operator took it down: set its key `up`");
    if (change.ops.empty())
      return committed(id, std::move(change), 0);
    commit(id, std::move(change));
  }

  /// Another server stands there now, or none: nothing said applies to it.
  void gone(uint64_t id) {
    auto& work = hosts.at(id);
    for (auto& task : work.tasks)
      if (task.ask)
        task.ask->answer("the store has another host at its place, or none: " +
                         work.key);
    work.tasks.clear();
    finish(id, false);
  }

  /// The instance counts on each node for itself.
  void kept(uint64_t id) {
    auto& work = hosts.at(id);
    auto& task = work.tasks.front();
    if (task.what == host_task::kind::errors)
      ctx->out->push(errors_kept{task.errors});
    if (task.ask)
      task.ask->answer("the instance has `persist_errors = false`");
    work.tasks.pop_front();
    finish(id, false);
  }

  void commit(uint64_t id, host_change change) {
    auto store = lookup(self->system(), place::store);
    if (!store)
      return on_failure(id, {errc::unavailable, "the store is restarting"});
    auto& work = hosts.at(id);
    const auto step = ++work.step;
    auto ops = change.ops;
    work.unsure = sent_change{std::move(change)};
    self->request(store, store_timeout, msg::commit_order{std::move(ops)})
        .then(
            [this, id, step](const msg::commit_reply& reply) {
              if (is_current(id, step))
                on_commit(id, reply.outcome);
            },
            [this, id, step](const caf::error& failure) {
              if (is_current(id, step))
                on_failure(id, silent(failure));
            });
  }

  void on_commit(uint64_t id, const result<commit_result>& outcome) {
    auto& work = hosts.at(id);
    if (outcome)
      return committed(id, std::move(work.unsure->change), outcome->revision);
    if (outcome.error().code != errc::conflict)
      return on_failure(id, outcome.error());
    // Somebody else was faster: look again, a little later than the others.
    work.unsure.reset();
    if (++work.tasks.front().conflicts >= conflicts_limit)
      return abandon(id, outcome.error().message);
    try_again(id, conflict_retry);
  }

  void committed(uint64_t id, host_change change, uint64_t revision) {
    auto& work = hosts.at(id);
    auto task = std::move(work.tasks.front());
    work.tasks.pop_front();
    work.is_down = change.went_down || (change.is_down && !change.went_up);
    if (change.went_down || change.went_up)
      ctx->out->push(host_event{change.went_up, work.host,
                                task.errors.by_probe || task.by_probe,
                                task.errors.err});
    if (task.ask)
      task.ask->answer("", std::to_string(change.count),
                       change.went_down || change.went_up ? revision : 0);
    finish(id, task.what == host_task::kind::errors);
  }

  /// The first task is over; after errors the host rests, the longer the
  /// sooner they had come again.
  void finish(uint64_t id, bool rests) {
    auto& work = hosts.at(id);
    work.busy = false;
    work.unsure.reset();
    if (rests) {
      work.rest = std::min(std::max(work.rest * 2, first_rest), last_rest);
      work.rest_until = now() + work.rest;
    }
    go_on(id);
    check_settled();
  }

  // ---- failures ------------------------------------------------------------

  void on_failure(uint64_t id, const error& failure) {
    auto& task = hosts.at(id).tasks.front();
    const bool passing = failure.code == errc::unavailable ||
                         failure.code == errc::timed_out ||
                         failure.code == errc::bad_answer;
    if (!passing || leaving || now() >= task.deadline)
      return abandon(id, failure.message);
    answer_overdue(hosts.at(id), failure.message);
    const auto doublings = std::min(task.failures++, 6U);
    const auto left =
        std::chrono::duration_cast<milliseconds>(task.deadline - now());
    const auto delay = std::min(first_retry * (1 << doublings), last_retry);
    try_again(id, std::min(delay, std::max(left, shortest_retry)));
  }

  /// Orders behind a task that is still being tried.
  void answer_overdue(host_tasks& work, const std::string& reason) const {
    for (auto at = std::next(work.tasks.begin()); at != work.tasks.end();) {
      const bool overdue = at->ask && now() >= at->deadline;
      if (overdue)
        at->ask->answer(work.key + ": " + reason);
      at = overdue ? work.tasks.erase(at) : std::next(at);
    }
  }

  void abandon(uint64_t id, const std::string& reason) {
    give_up(hosts.at(id), reason);
    finish(id, false);
  }

  /// Ends the first task of a host without success.
  void give_up(host_tasks& work, const std::string& reason) {
    auto task = std::move(work.tasks.front());
    work.tasks.pop_front();
    if (task.ask)
      return task.ask->answer(work.key + ": " + reason);
    if (task.what != host_task::kind::errors)
      return; // whoever wanted it will want it again
    ctx->out->push(errors_kept{task.errors});
    if (last_complaint.time_since_epoch().count() != 0 &&
        now() - last_complaint < complaint_interval)
      return;
    last_complaint = now();
    ctx->log->warn("{}: {} errors could not be written: {}", work.key,
                   task.errors.count, reason);
  }

  // ---- the state of an instance --------------------------------------------

  void read_state(std::shared_ptr<host_ask> ask) {
    auto store = lookup(self->system(), place::store);
    if (!store)
      return ask->answer("the store is restarting");
    const auto& instance = ask->order().host.instance;
    auto wanted = state_prefix(ctx->options.prefix, instance);
    self->request(store, store_timeout, msg::read_order{std::move(wanted)})
        .then(
            [this, ask](const msg::read_reply& reply) {
              if (!reply.content)
                return ask->answer(reply.content.error().message);
              ask->answer("",
                          state_json(parse_state(ctx->options.prefix,
                                                 ask->order().host.instance,
                                                 (*reply.content)->entries)));
            },
            [this, ask](const caf::error& failure) {
              ask->answer(silent(failure).message);
            });
  }
};

caf::behavior outcomes(caf::stateful_actor<outcomes_state>* self,
                       context_ptr ctx) {
  log_exceptions(self, ctx);
  self->state.self = self;
  self->state.ctx = std::move(ctx);
  return {
      [=](const msg::errors_seen& seen) {
        self->state.on_errors({seen.host, seen.count, seen.window,
                               seen.max_errors, seen.by_probe, seen.err});
      },
      [=](const msg::revival_due& due) { self->state.on_revival(due); },
      [=](const msg::host_wanted& wanted) { self->state.on_order(wanted.ask); },
      [=](const msg::settle_wanted& wanted) { self->state.on_settle(wanted); },
      [=](const msg::retry_host& due) { self->state.on_retry(due); },
  };
}

} // namespace

caf::actor spawn_outcomes(caf::actor_system& sys, context_ptr ctx) {
  return sys.spawn(outcomes, std::move(ctx));
}

void tell_outcomes(caf::actor_system& sys, outbox<loop_message>* out,
                   host_order order) {
  auto ask = std::make_shared<host_ask>(out, std::move(order));
  if (auto target = lookup(sys, place::outcomes))
    return caf::anon_send(target, msg::host_wanted{std::move(ask)});
  ask->answer("outcomes is being restarted");
}

} // namespace zedcup
