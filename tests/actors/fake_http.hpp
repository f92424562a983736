// An HTTP client whose answers the test gives, one by one.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actor_fixture.hpp"
#include "net/http_client.hpp"
#include "util/base64.hpp"

namespace zedcup::test {

class fake_http : public http_client {
public:
  struct exchange {
    uint64_t id = 0;
    http_request request;
    callback on_done;
    bool cancelled = false;
  };

  uint64_t submit(http_request request, callback on_done) override {
    open.push_back({++last_id_, std::move(request), std::move(on_done)});
    return last_id_;
  }

  void cancel(uint64_t id) override {
    for (auto& one : open)
      one.cancelled = one.cancelled || one.id == id;
  }

  /// Open requests whose target contains `part`, cancelled ones left out.
  size_t count(std::string_view part) const {
    return static_cast<size_t>(
        std::count_if(open.begin(), open.end(), [&](const exchange& one) {
          return !one.cancelled && contains(one, part);
        }));
  }

  /// Takes the oldest such request; fails the test when there is none.
  exchange take(std::string_view part) {
    return take_if([&](const exchange& one) {
      return !one.cancelled && contains(one, part);
    });
  }
  exchange take_cancelled() {
    return take_if([](const exchange& one) { return one.cancelled; });
  }

  std::vector<exchange> open;

private:
  template <class Condition>
  exchange take_if(Condition wanted) {
    auto at = std::find_if(open.begin(), open.end(), wanted);
    if (at == open.end())
      throw std::runtime_error("no such request");
    auto taken = std::move(*at);
    open.erase(at);
    return taken;
  }
  static bool contains(const exchange& one, std::string_view part) {
    return one.request.target.find(part) != std::string::npos;
  }

  uint64_t last_id_ = 0;
};

inline http_response answer_with(int status, uint64_t index,
                                 std::string body = "") {
  http_response made;
  made.status = status;
  made.headers = {{"X-Consul-Index", std::to_string(index)}};
  made.body = std::move(body);
  return made;
}

/// A Consul's answer to a read.
inline http_response tree_answer(const std::map<std::string, std::string>& keys,
                                 uint64_t index) {
  if (keys.empty())
    return answer_with(404, index);
  std::string body;
  for (auto& [key, value] : keys)
    body += std::string(body.empty() ? "[" : ", ") + R"({"Key": ")" + key +
            R"(", "Flags": 0, "ModifyIndex": )" + std::to_string(index) +
            R"(, "Value": ")" + base64_encode(value) + "\"}";
  return answer_with(200, index, body + "]");
}

} // namespace zedcup::test
