#include "net/http_driver.hpp"

#include <pthread.h>
#include <sys/resource.h>

#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "net/curl_exchange.hpp"

namespace zedcup {
namespace {

bool init_libcurl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  return code == CURLE_OK;
}

/// Threads inherit the signal mask of their maker: signals of the process must
/// reach nginx's own thread only.
class signals_blocked {
public:
  signals_blocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~signals_blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  signals_blocked(const signals_blocked&) = delete;
  signals_blocked& operator=(const signals_blocked&) = delete;

private:
  sigset_t before_{};
};

error cancelled() {
  return {errc::cancelled, "http: cancelled"};
}

} // namespace

/// The thread and what it shares. `mutex_` guards the inbox, `stopping_` and
/// the life of `multi_`; everything else belongs to the thread.
class http_driver::loop {
public:
  using callback = http_client::callback;

  explicit loop(const http_driver_options& options) : options_(options) {}

  status start();
  uint64_t submit(http_request request, callback on_done);
  void cancel(uint64_t id);
  void stop();

private:
  struct command {
    uint64_t id = 0;
    http_request request;
    callback on_done; ///< empty: cancel `id`
  };
  struct job {
    job(http_request request, const http_driver_options& limits, callback done)
        : exchange(std::move(request), limits), on_done(std::move(done)) {}
    curl_exchange exchange;
    callback on_done;
  };
  using jobs = std::unordered_map<uint64_t, std::unique_ptr<job>>;

  void run();
  bool obey_inbox();
  void begin(command order);
  void finish_done();
  void end(uint64_t id, result<http_response> outcome);
  void end_all();

  const http_driver_options options_;
  std::mutex mutex_;
  CURLM* multi_ = nullptr;
  std::vector<command> inbox_;
  bool stopping_ = false;
  uint64_t last_id_ = 0;

  std::mutex join_mutex_;
  std::thread thread_;

  jobs running_;
  std::unordered_map<CURL*, uint64_t> ids_;
};

status http_driver::loop::start() {
  multi_ = init_libcurl() ? curl_multi_init() : nullptr;
  if (!multi_)
    return error{errc::unavailable, "http: libcurl does not start"};
#if LIBCURL_VERSION_NUM >= 0x081400
  curl_multi_setopt(multi_, CURLMOPT_QUICK_EXIT, 1L);
#endif
  try {
    const signals_blocked guard;
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& failure) {
    curl_multi_cleanup(multi_);
    multi_ = nullptr;
    return error{errc::unavailable,
                 std::string("http: no thread: ") + failure.what()};
  }
  return success();
}

uint64_t http_driver::loop::submit(http_request request, callback on_done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      const uint64_t id = ++last_id_;
      inbox_.push_back({id, std::move(request), std::move(on_done)});
      curl_multi_wakeup(multi_);
      return id;
    }
  }
  on_done(cancelled());
  return 0;
}

void http_driver::loop::cancel(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stopping_)
    return;
  inbox_.push_back({id, {}, nullptr});
  curl_multi_wakeup(multi_);
}

void http_driver::loop::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    if (multi_)
      curl_multi_wakeup(multi_);
  }
  const std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable())
    thread_.join();
}

void http_driver::loop::run() {
  pthread_setname_np(pthread_self(), "zedcup-http");
  if (options_.nice != 0) // on Linux that of the calling thread alone
    (void)setpriority(PRIO_PROCESS, 0, options_.nice);
  while (obey_inbox()) {
    int count = 0;
    curl_multi_perform(multi_, &count);
    finish_done();
    // libcurl wakes up earlier for its own timers.
    if (curl_multi_poll(multi_, nullptr, 0, 60000, nullptr) != CURLM_OK)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  end_all();
  const std::lock_guard<std::mutex> lock(mutex_);
  curl_multi_cleanup(multi_);
  multi_ = nullptr;
}

/// @returns false when stopping; the inbox is then left to end_all().
bool http_driver::loop::obey_inbox() {
  std::vector<command> orders;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_)
      return false;
    orders.swap(inbox_);
  }
  for (auto& order : orders) {
    if (order.on_done)
      begin(std::move(order));
    else
      end(order.id, cancelled());
  }
  return true;
}

void http_driver::loop::begin(command order) {
  auto made = std::make_unique<job>(std::move(order.request), options_,
                                    std::move(order.on_done));
  if (auto good = made->exchange.prepare(); !good) {
    made->on_done(good.error());
    return;
  }
  CURL* const handle = made->exchange.handle();
  if (curl_multi_add_handle(multi_, handle) != CURLM_OK) {
    made->on_done(error{errc::unavailable, "http: libcurl refuses a handle"});
    return;
  }
  ids_.emplace(handle, order.id);
  running_.emplace(order.id, std::move(made));
}

void http_driver::loop::finish_done() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE)
      continue;
    const CURLcode code = message->data.result; // gone after the removal
    const auto id = ids_.at(message->easy_handle);
    end(id, running_.at(id)->exchange.finish(code));
  }
}

void http_driver::loop::end(uint64_t id, result<http_response> outcome) {
  const auto found = running_.find(id);
  if (found == running_.end())
    return;
  const auto ended = std::move(found->second);
  running_.erase(found);
  ids_.erase(ended->exchange.handle());
  curl_multi_remove_handle(multi_, ended->exchange.handle());
  ended->on_done(std::move(outcome));
}

void http_driver::loop::end_all() {
  while (!running_.empty())
    end(running_.begin()->first, cancelled());
  std::vector<command> orders;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    orders.swap(inbox_);
  }
  for (const auto& order : orders)
    if (order.on_done)
      order.on_done(cancelled());
}

http_driver::http_driver(std::unique_ptr<loop> impl) : loop_(std::move(impl)) {}
http_driver::~http_driver() {
  stop();
}

result<std::unique_ptr<http_driver>>
http_driver::start(const http_driver_options& options) {
  auto made = std::make_unique<loop>(options);
  if (auto good = made->start(); !good)
    return good.error();
  return std::unique_ptr<http_driver>(new http_driver(std::move(made)));
}

uint64_t http_driver::submit(http_request request, callback on_done) {
  return loop_->submit(std::move(request), std::move(on_done));
}

void http_driver::cancel(uint64_t id) {
  loop_->cancel(id);
}

void http_driver::stop() {
  loop_->stop();
}

} // namespace zedcup
