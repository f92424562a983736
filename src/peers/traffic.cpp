#include "peers/traffic.hpp"

#include <algorithm>

#include "store/json.hpp"

namespace zedcup {

// Four buckets to each doubling; 0..3 ms have one each.
size_t duration_histogram::bucket_of(uint32_t ms) noexcept {
  if (ms < 4)
    return ms;
  unsigned octave = 2;
  while (octave < 31 && (ms >> (octave + 1)) != 0)
    ++octave;
  const size_t quarter = (ms >> (octave - 2)) & 3;
  return std::min(buckets - 1, (octave - 1) * size_t{4} + quarter);
}

uint32_t duration_histogram::upper_ms(size_t bucket) noexcept {
  if (bucket < 4)
    return static_cast<uint32_t>(bucket);
  const unsigned octave = static_cast<unsigned>(bucket / 4) + 1;
  const auto quarter = static_cast<uint32_t>(bucket % 4);
  return ((5 + quarter) << (octave - 2)) - 1;
}

traffic::counters& traffic::find(std::string_view upstream,
                                 std::string_view peer) {
  key_.assign(upstream);
  key_ += '\n';
  key_ += peer;
  const auto known = peers_.find(key_);
  if (known != peers_.end())
    return known->second;
  if (peers_.size() >= most_peers && key_ != "other\nother")
    return find("other", "other");
  auto& made = peers_[key_];
  made.upstream = upstream;
  made.peer = peer;
  return made;
}

void traffic::record(std::string_view upstream, std::string_view peer,
                     int status, uint32_t ms) {
  auto& mine = find(upstream, peer);
  mine.ms += ms;
  mine.times.add(ms);
  ++mine.count_of(status);
}

uint32_t& traffic::counters::count_of(int status) {
  for (auto& [code, count] : codes)
    if (code == status)
      return count;
  if (codes.size() >= most_statuses && status != 0)
    return count_of(0);
  return codes.emplace_back(status, 0).second;
}

std::string traffic::take_json() {
  rapidjson::StringBuffer buffer;
  json::writer out(buffer);
  out.StartObject();
  out.Key("requests");
  out.Uint64(requests_);
  out.Key("peers");
  out.StartArray();
  for (const auto& [key, mine] : peers_) {
    out.StartObject();
    out.Key("upstream");
    json::put_text(out, mine.upstream);
    out.Key("peer");
    json::put_text(out, mine.peer);
    out.Key("ms");
    out.Uint64(mine.ms);
    out.Key("codes");
    out.StartObject();
    for (const auto& [code, count] : mine.codes) {
      out.Key(std::to_string(code).c_str());
      out.Uint(count);
    }
    out.EndObject();
    out.Key("times");
    out.StartObject();
    for (size_t i = 0; i < duration_histogram::buckets; ++i)
      if (mine.times.count(i) != 0) {
        out.Key(std::to_string(i).c_str());
        out.Uint(mine.times.count(i));
      }
    out.EndObject();
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
  peers_.clear();
  requests_ = 0;
  return {buffer.GetString(), buffer.GetSize()};
}

} // namespace zedcup
