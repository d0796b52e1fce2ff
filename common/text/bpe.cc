// See bpe.h.
#include "common/text/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/text/utf8.h"

namespace pingti::text {
namespace {

// Up to this many symbols a scan for the best pair beats a heap.
constexpr size_t kShortWord = 32;
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

}  // namespace

MergeTable::MergeTable(const std::vector<BpeMerge>& merges) {
  const size_t size = std::bit_ceil(std::max<size_t>(merges.size() * 2, 2));
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
  for (const BpeMerge& merge : merges) {
    const uint64_t key = Key(merge.left, merge.right);
    size_t slot = (key * kMultiplier) >> shift_;
    while (entries_[slot].key != ~uint64_t{0} && entries_[slot].key != key) {
      slot = (slot + 1) & mask_;
    }
    // A pair listed twice keeps its last rank, as a map filled in order does.
    entries_[slot] = {key, merge.rank, merge.result};
  }
}

Bpe Bpe::Make(const std::vector<std::string>& pieces, std::vector<BpeMerge> merges,
              const BpeOptions& options) {
  std::erase_if(merges,
                [&](const BpeMerge& m) { return pieces[static_cast<size_t>(m.result)].empty(); });
  Bpe bpe(MergeTable(merges), options);
  bpe.pieces_.Reserve(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (!pieces[id].empty()) bpe.pieces_.Insert(pieces[id], static_cast<TokenId>(id));
  }
  std::vector<bool> direct(pieces.size(), options.ignore_merges);
  if (!options.ignore_merges) {
    Scratch scratch;
    std::vector<TokenId> ids;
    for (size_t id = 0; id < pieces.size(); ++id) {
      ids.clear();
      bpe.Encode(pieces[id], &scratch, &ids);
      direct[id] = ids.size() == 1 && ids[0] == static_cast<TokenId>(id);
    }
  }
  bpe.direct_ = std::move(direct);
  return bpe;
}

void Bpe::EncodeBytes(std::string_view bytes, std::vector<TokenId>* ids) const {
  for (const char c : bytes) {
    TokenId id = options_.byte_tokens[static_cast<uint8_t>(c)];
    if (id == kNoToken) id = options_.unknown;
    if (id == kNoToken) continue;
    if (id == options_.unknown && options_.fuse_unknown && !ids->empty() && ids->back() == id) {
      continue;
    }
    ids->push_back(id);
  }
}

void Bpe::Start(std::string_view word, std::vector<TokenId>* symbols) const {
  symbols->clear();
  if (options_.byte_symbols) {
    EncodeBytes(word, symbols);
    return;
  }
  while (!word.empty()) {
    const size_t length = DecodeUtf8(word).length;
    const std::string_view character = word.substr(0, length);
    word.remove_prefix(length);
    const TokenId id = pieces_.Find(character);
    if (id != kNoToken) {
      symbols->push_back(id);
      continue;
    }
    const bool has_bytes = std::all_of(character.begin(), character.end(), [&](char c) {
      return options_.byte_tokens[static_cast<uint8_t>(c)] != kNoToken;
    });
    if (has_bytes) {
      EncodeBytes(character, symbols);
    } else if (options_.unknown != kNoToken && !(options_.fuse_unknown && !symbols->empty() &&
                                                 symbols->back() == options_.unknown)) {
      symbols->push_back(options_.unknown);
    }
  }
}

void Bpe::Encode(std::string_view word, Scratch* scratch, std::vector<TokenId>* ids) const {
  if (const TokenId id = pieces_.Find(word); id != kNoToken &&
                                             static_cast<size_t>(id) < direct_.size() &&
                                             direct_[static_cast<size_t>(id)]) {
    ids->push_back(id);
    return;
  }
  Start(word, &scratch->ids);
  if (scratch->ids.size() > kShortWord) {
    MergeLong(scratch, ids);
    return;
  }
  const size_t count = MergeShort(scratch->ids.data(), scratch->ids.size());
  ids->insert(ids->end(), scratch->ids.begin(),
              scratch->ids.begin() + static_cast<std::ptrdiff_t>(count));
}

size_t Bpe::MergeShort(TokenId* symbols, size_t count) const {
  if (count < 2) return count;
  int32_t ranks[kShortWord];  // of the pair (i, i + 1)
  TokenId results[kShortWord];
  const auto look_up = [&](size_t i) {
    const MergeTable::Entry* entry = merges_.Find(symbols[i], symbols[i + 1]);
    ranks[i] = entry != nullptr ? entry->rank : kNoRank;
    results[i] = entry != nullptr ? entry->result : kNoToken;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = results[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  return count;
}

void Bpe::MergeLong(Scratch* scratch, std::vector<TokenId>* ids) const {
  std::vector<TokenId>& symbols = scratch->ids;
  std::vector<int32_t>& prev = scratch->prev;
  std::vector<int32_t>& next = scratch->next;
  std::vector<uint64_t>& heap = scratch->heap;
  const auto count = static_cast<int32_t>(symbols.size());
  prev.resize(symbols.size());
  next.resize(symbols.size());
  heap.clear();
  const auto at = [&](int32_t i) { return symbols[static_cast<size_t>(i)]; };
  const auto pair_at = [&](int32_t i) -> const MergeTable::Entry* {
    const int32_t right = next[static_cast<size_t>(i)];
    return right < count ? merges_.Find(at(i), at(right)) : nullptr;
  };
  const auto key = [](int32_t rank, int32_t pos) {
    return (uint64_t{static_cast<uint32_t>(rank)} << 32) | static_cast<uint32_t>(pos);
  };
  for (int32_t i = 0; i < count; ++i) {
    prev[static_cast<size_t>(i)] = i - 1;
    next[static_cast<size_t>(i)] = i + 1;
  }
  for (int32_t i = 0; i + 1 < count; ++i) {
    if (const auto* entry = pair_at(i)) heap.push_back(key(entry->rank, i));
  }
  scratch->pairs_queued += heap.size();
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](int32_t i) {
    if (const auto* entry = pair_at(i)) {
      heap.push_back(key(entry->rank, i));
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
      ++scratch->pairs_queued;
    }
  };
  while (!heap.empty()) {
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto i = static_cast<int32_t>(top & 0xFFFFFFFFu);
    if (at(i) == kNoToken) continue;  // joined to its left neighbour since
    const MergeTable::Entry* entry = pair_at(i);
    if (entry == nullptr || entry->rank != static_cast<int32_t>(top >> 32)) continue;
    const int32_t gone = next[static_cast<size_t>(i)];
    const int32_t after = next[static_cast<size_t>(gone)];
    symbols[static_cast<size_t>(i)] = entry->result;
    symbols[static_cast<size_t>(gone)] = kNoToken;
    next[static_cast<size_t>(i)] = after;
    if (after < count) prev[static_cast<size_t>(after)] = i;
    push(i);
    if (prev[static_cast<size_t>(i)] >= 0) push(prev[static_cast<size_t>(i)]);
  }
  for (int32_t i = 0; i < count; i = next[static_cast<size_t>(i)]) ids->push_back(at(i));
}

}  // namespace pingti::text
