// A hash of text that is the same in every process and version, so that replicas agree without
// talking to each other. Not cryptographic.
#pragma once

#include <cstdint>
#include <string_view>

namespace pingti {

// The finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
constexpr uint64_t MixBits(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

constexpr uint64_t StableHash(std::string_view text) {
  uint64_t hash = MixBits(0x9e3779b97f4a7c15u + text.size());
  for (const char c : text) hash = MixBits(hash ^ static_cast<unsigned char>(c));
  return hash;
}

}  // namespace pingti
