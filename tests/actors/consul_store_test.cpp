// Short calls to a Consul.
#include "actors/consul_store.hpp"

#include "actor_fixture.hpp"
#include "fake_http.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

const error refused{errc::unavailable, "connection refused"};

class calling : public actor_fixture {
public:
  calling() {
    ctx->options.store =
        *parse_consul_options(R"({"addresses": ["10.0.0.1", "10.0.0.2"]})");
    ctx->http = http;
    put(place::store, spawn_consul_store(actors, ctx));
    put(place::writer,
        spawn_small(
            actors, [this](caf::event_based_actor* self) -> caf::behavior {
              return {
                  [=](const msg::read_order& order) { ask_read(self, order); },
                  [=](const msg::commit_order& order) {
                    ask_commit(self, order);
                  },
              };
            }));
  }

  void ask_read(caf::event_based_actor* self, const msg::read_order& order) {
    self->request(lookup(actors, place::store), 1min, order)
        .then([this](const msg::read_reply& r) { reads.push_back(r.content); },
              [this](const caf::error&) { ++lost; });
  }
  void ask_commit(caf::event_based_actor* self,
                  const msg::commit_order& order) {
    self->request(lookup(actors, place::store), 1min, order)
        .then([this](
                  const msg::commit_reply& r) { commits.push_back(r.outcome); },
              [this](const caf::error&) { ++lost; });
  }

  void read() {
    send(lookup(actors, place::writer), msg::read_order{"zedcup/x/"});
  }
  void commit() {
    kv_op op;
    op.key = "zedcup/x";
    send(lookup(actors, place::writer), msg::commit_order{{op}});
  }
  void answer(result<http_response> with) {
    http->take("").on_done(std::move(with));
    settle();
  }
  /// Which server the oldest request goes to.
  std::string server() { return http->open.at(0).request.endpoint->host; }

  std::vector<result<std::shared_ptr<const kv_tree>>> reads;
  std::vector<result<commit_result>> commits;
  int lost = 0;
  std::shared_ptr<fake_http> http = std::make_shared<fake_http>();
};

} // namespace

TEST_CASE_METHOD(calling, "consul store: answers reads", "[consul_store]") {
  read();
  CHECK(http->open.at(0).request.close_after);
  CHECK(http->count("consistent") == 1);
  answer(tree_answer({{"zedcup/x/a", "1"}}, 5));
  REQUIRE(reads.size() == 1);
  REQUIRE(reads[0]);
  CHECK((*reads[0])->revision == 5);
  CHECK((*reads[0])->entries.at(0).value == "1");
  read();
  answer(answer_with(200, 5, "nonsense"));
  REQUIRE(reads.size() == 2);
  CHECK(reads[1].error().code == errc::bad_answer);
}

TEST_CASE_METHOD(calling, "consul store: answers commits", "[consul_store]") {
  commit();
  answer(answer_with(
      200, 5,
      R"({"Results": [{"KV": {"Key": "zedcup/x", "ModifyIndex": 9}}]})"));
  REQUIRE(commits.size() == 1);
  REQUIRE(commits[0]);
  CHECK(commits[0]->revision == 9);
  commit();
  answer(answer_with(409, 5, R"({"Errors": [{"OpIndex": 0, "What": "no"}]})"));
  REQUIRE(commits.size() == 2);
  CHECK(commits[1].error().code == errc::conflict);
}

TEST_CASE_METHOD(calling,
                 "consul store: a commit beyond the limits is refused "
                 "without a call",
                 "[consul_store]") {
  send(lookup(actors, place::writer),
       msg::commit_order{std::vector<kv_op>(65)});
  CHECK(http->open.empty());
  REQUIRE(commits.size() == 1);
  CHECK(commits[0].error().code == errc::too_large);
}

TEST_CASE_METHOD(calling, "consul store: calls under way do not mix",
                 "[consul_store]") {
  read();
  commit();
  http->take("txn").on_done(answer_with(409, 5, R"({"Errors": []})"));
  settle();
  CHECK(commits.size() == 1);
  CHECK(reads.empty());
  answer(tree_answer({}, 5));
  REQUIRE(reads.size() == 1);
  CHECK(reads[0]);
}

TEST_CASE_METHOD(calling,
                 "consul store: goes on to the next server when one "
                 "does not answer",
                 "[consul_store]") {
  read();
  CHECK(server() == "10.0.0.1");
  answer(refused);
  CHECK(reads.at(0).error().code == errc::unavailable);
  read();
  CHECK(server() == "10.0.0.2");
  answer(tree_answer({}, 5));
  read();
  CHECK(server() == "10.0.0.2");
}

TEST_CASE_METHOD(calling,
                 "consul store: goes on also from a server that has "
                 "no leader",
                 "[consul_store]") {
  read();
  answer(answer_with(500, 0, "No cluster leader"));
  read();
  CHECK(server() == "10.0.0.2");
}

TEST_CASE_METHOD(calling,
                 "consul store: two calls that fail on one server "
                 "are one step",
                 "[consul_store]") {
  read();
  commit();
  answer(refused);
  answer(refused);
  read();
  CHECK(server() == "10.0.0.2");
}

TEST_CASE_METHOD(calling, "consul store: its end answers what is open",
                 "[consul_store]") {
  read();
  commit();
  caf::anon_send_exit(lookup(actors, place::store), caf::exit_reason::kill);
  settle();
  CHECK(reads.size() + commits.size() + static_cast<size_t>(lost) == 2);
  answer(refused); // comes to nobody
}
