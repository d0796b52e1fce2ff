// Hash table from the bytes of a token to its id, for millions of look-ups a second.
// Immutable after the last Insert, then thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pingti::text {

class PieceTable {
 public:
  // `count` pieces will be inserted.
  void Reserve(size_t count);
  // The first of equal pieces stays. REQUIRES: Reserve was called for enough pieces.
  void Insert(std::string_view piece, int32_t id);
  // -1 when absent.
  int32_t Find(std::string_view piece) const;

 private:
  struct Entry {
    uint32_t tag = 0;
    uint32_t offset = 0;
    uint32_t size = 0;
    int32_t id = -1;
  };
  static uint64_t Hash(std::string_view piece);

  std::string arena_;
  std::vector<Entry> entries_;  // power of two, at most half full
  size_t mask_ = 0;
  size_t longest_ = 0;
};

}  // namespace pingti::text
