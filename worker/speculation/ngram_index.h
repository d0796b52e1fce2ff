// Where in a text the words that it ends with stood before: the longest such place.
//
// Every three tokens in a row are chained to their earlier places, newest first, as LZ77
// compressors find matches (Deutsch, RFC 1951, section 4). A chain is followed for a bounded number
// of steps, so that a query costs the same in any text. 4 bytes per token and about 24 per distinct
// three.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace pingti::worker {

class NgramIndex {
 public:
  static constexpr int32_t kShortest = 3;  // tokens of a match
  static constexpr int32_t kLongest = 64;  // beyond which matches are equally good
  static constexpr int32_t kMostVisits = 32;

  struct Match {
    int32_t end = 0;     // the index behind the earlier place
    int32_t length = 0;  // tokens; 0: none
  };

  // Takes in the tokens behind those it knows. REQUIRES: `tokens` begins with these.
  void Extend(std::span<const int32_t> tokens);

  // For the end of the text; of equally long places the newest. REQUIRES: Extend(tokens) came last.
  Match FindLongest(std::span<const int32_t> tokens) const;

 private:
  absl::flat_hash_map<uint64_t, int32_t> newest_;  // three tokens to the index behind them
  std::vector<int32_t> previous_{0};  // by the index behind three tokens; 0: they are new
};

}  // namespace pingti::worker
