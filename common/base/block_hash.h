// The hash chain of a token sequence's full blocks: the name under which a worker's prefix cache
// and a router's index know one block and everything before it. Both compute it with these
// functions.
//
//   h[-1] = BlockHashSeed(PrefixSalt(cache_salt, adapter))
//   h[i]  = ChainBlockHash(h[i-1], tokens of block i)
//
// Not cryptographic: the cache compares tokens as well, so a collision costs time, never an answer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/stable_hash.h"
#include "common/base/strings.h"

namespace pingti {

// Longest id of an adapter, in bytes.
inline constexpr size_t kMaxAdapterIdBytes = 16;

// What separates prefixes that must not be shared: those of tenants, and those that were computed
// with different adapters. `adapter`: an adapter's id; empty: none.
inline std::string PrefixSalt(std::string_view cache_salt, std::string_view adapter) {
  return adapter.empty() ? std::string(cache_salt) : Concat(adapter, "/", cache_salt);
}

// The chain's start for one salt.
constexpr uint64_t BlockHashSeed(std::string_view salt) { return StableHash(salt); }

// Never 0: on the wire 0 means "no parent".
constexpr uint64_t ChainBlockHash(uint64_t parent, std::span<const int32_t> tokens) {
  uint64_t hash = MixBits(parent + 0x9e3779b97f4a7c15u);
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  hash = MixBits(hash);
  return hash == 0 ? 1 : hash;
}

}  // namespace pingti
