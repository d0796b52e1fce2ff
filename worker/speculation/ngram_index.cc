#include "worker/speculation/ngram_index.h"

#include <algorithm>

namespace pingti::worker {
namespace {

// Exact: a token id has at most 21 bits in any tokenizer we know; larger ones may meet, which the
// comparison of tokens finds out.
uint64_t KeyBefore(std::span<const int32_t> tokens, size_t end) {
  uint64_t key = 0;
  for (size_t i = end - NgramIndex::kShortest; i < end; ++i) {
    key = (key << 21) ^ static_cast<uint64_t>(static_cast<uint32_t>(tokens[i]));
  }
  return key;
}

int32_t CommonSuffix(std::span<const int32_t> tokens, size_t a, size_t b) {
  const size_t most = std::min<size_t>({a, b, NgramIndex::kLongest});
  size_t length = 0;
  while (length < most && tokens[a - 1 - length] == tokens[b - 1 - length]) ++length;
  return static_cast<int32_t>(length);
}

}  // namespace

void NgramIndex::Extend(std::span<const int32_t> tokens) {
  for (size_t end = previous_.size(); end <= tokens.size(); ++end) {
    int32_t previous = 0;
    if (end >= kShortest) {
      int32_t& newest = newest_[KeyBefore(tokens, end)];
      previous = newest;
      newest = static_cast<int32_t>(end);
    }
    previous_.push_back(previous);
  }
}

NgramIndex::Match NgramIndex::FindLongest(std::span<const int32_t> tokens) const {
  Match best;
  int32_t place = previous_[tokens.size()];
  for (int32_t visits = 0; place != 0 && visits < kMostVisits; ++visits) {
    const int32_t length = CommonSuffix(tokens, static_cast<size_t>(place), tokens.size());
    if (length >= kShortest && length > best.length) best = {place, length};
    if (best.length == kLongest) break;
    place = previous_[place];
  }
  return best;
}

}  // namespace pingti::worker
