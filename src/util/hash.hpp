// Hashes that are the same in every process and version: for identities and
// for consistent hashing, not against an adversary. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace zedcup {

/// FNV-1a, 64 bits.
class fnv_hash {
public:
  void add(std::string_view bytes) noexcept {
    for (const char c : bytes)
      add_byte(static_cast<uint8_t>(c));
  }
  void add(uint32_t number) noexcept {
    for (int shift = 0; shift < 32; shift += 8)
      add_byte(static_cast<uint8_t>(number >> shift));
  }
  uint64_t value() const noexcept { return value_; }

private:
  void add_byte(uint8_t byte) noexcept {
    value_ = (value_ ^ byte) * 0x100000001b3ULL;
  }

  uint64_t value_ = 0xcbf29ce484222325ULL;
};

/// Spreads every bit of `value` over all of the result (Murmur3's finalizer).
constexpr uint64_t mix_bits(uint64_t value) noexcept {
  value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdULL;
  value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return value ^ (value >> 33);
}

/// The key of consistent hashing that a text stands for.
inline uint64_t hash_key(std::string_view text) noexcept {
  fnv_hash hash;
  hash.add(text);
  return mix_bits(hash.value());
}

} // namespace zedcup
