// See piece_table.h.
#include "common/text/piece_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"

namespace pingti::text {

uint64_t PieceTable::Hash(std::string_view piece) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio
  const auto mix = [](uint64_t v) {
    v *= kMultiplier;
    return v ^ (v >> 32);
  };
  uint64_t hash = piece.size();
  const char* data = piece.data();
  size_t left = piece.size();
  for (; left >= 8; data += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    hash = mix(hash ^ word);
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, data, left);
  return mix(mix(hash ^ tail));
}

void PieceTable::Reserve(size_t count) {
  entries_.assign(std::bit_ceil(std::max<size_t>(count * 2, 2)), Entry{});
  mask_ = entries_.size() - 1;
}

void PieceTable::Insert(std::string_view piece, int32_t id) {
  PINGTI_CHECK(id >= 0);
  const uint64_t hash = Hash(piece);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t slot = hash & mask_;; slot = (slot + 1) & mask_) {
    Entry& entry = entries_[slot];
    if (entry.id < 0) {
      entry = {tag, static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(piece.size()), id};
      arena_.append(piece);
      longest_ = std::max(longest_, piece.size());
      return;
    }
    if (entry.tag == tag && std::string_view(arena_).substr(entry.offset, entry.size) == piece) {
      return;
    }
  }
}

int32_t PieceTable::Find(std::string_view piece) const {
  if (piece.size() > longest_ || entries_.empty()) return -1;
  const uint64_t hash = Hash(piece);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t slot = hash & mask_;; slot = (slot + 1) & mask_) {
    const Entry& entry = entries_[slot];
    if (entry.id < 0) return -1;
    if (entry.tag == tag && entry.size == piece.size() &&
        std::memcmp(arena_.data() + entry.offset, piece.data(), piece.size()) == 0) {
      return entry.id;
    }
  }
}

}  // namespace pingti::text
