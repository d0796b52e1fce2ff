// The hash chain of a token sequence's full blocks: the name under which a worker's prefix cache
// and a router's index know one block and everything before it. Both compute it with these
// functions.
//
//   h[-1] = BlockHashSeed(cache_salt)
//   h[i]  = ChainBlockHash(h[i-1], tokens of block i)
//
// Not cryptographic: the cache compares tokens as well, so a collision costs time, never an answer.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pingti {

namespace internal {

// The finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
constexpr uint64_t MixBits(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace internal

// The chain's start for one salt; salts separate tenants.
constexpr uint64_t BlockHashSeed(std::string_view salt) {
  uint64_t hash = internal::MixBits(0x9e3779b97f4a7c15u + salt.size());
  for (const char c : salt) hash = internal::MixBits(hash ^ static_cast<unsigned char>(c));
  return hash;
}

// Never 0: on the wire 0 means "no parent".
constexpr uint64_t ChainBlockHash(uint64_t parent, std::span<const int32_t> tokens) {
  uint64_t hash = internal::MixBits(parent + 0x9e3779b97f4a7c15u);
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  hash = internal::MixBits(hash);
  return hash == 0 ? 1 : hash;
}

}  // namespace pingti
