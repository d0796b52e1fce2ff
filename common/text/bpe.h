// Byte pair encoding of one word: the pair of neighbours with the lowest rank is joined first,
// leftmost of equals, until no pair is in the table. Source: Sennrich et al. 2016, section 3.2.
//
// A Bpe is immutable after Make and thread-safe; buffers of one call live in a Bpe::Scratch.
// Time: O(n) table look-ups for words that are one token, O(n log n) at worst for a word of n
// symbols.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/piece_table.h"
#include "common/text/tokenizer.h"

namespace pingti::text {

constexpr TokenId kNoToken = -1;

struct BpeMerge {
  TokenId left, right, result;
  int32_t rank;  // lower is joined earlier; equal ranks go left to right
};

struct BpeOptions {
  // Words start as bytes (byte-level models) or as characters (SentencePiece).
  bool byte_symbols = true;
  // A word that is itself in the vocabulary is that token, whatever the merges say (Llama-3).
  bool ignore_merges = false;
  // Neighbouring unknown symbols give one unknown token.
  bool fuse_unknown = false;
  TokenId unknown = kNoToken;
  // The token of each byte: start symbols of byte-level models, the fallback for characters outside
  // the vocabulary otherwise. kNoToken where there is none.
  std::array<TokenId, 256> byte_tokens;
};

// Pair of neighbours -> rank and joined token. Open addressing, at most half full.
class MergeTable {
 public:
  struct Entry {
    uint64_t key = ~uint64_t{0};
    int32_t rank = 0;
    TokenId result = kNoToken;
  };
  explicit MergeTable(const std::vector<BpeMerge>& merges);
  // nullptr when the pair is not joined.
  const Entry* Find(TokenId left, TokenId right) const {
    const uint64_t key = Key(left, right);
    for (size_t slot = (key * kMultiplier) >> shift_;; slot = (slot + 1) & mask_) {
      if (entries_[slot].key == key) return &entries_[slot];
      if (entries_[slot].key == ~uint64_t{0}) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio
  static uint64_t Key(TokenId left, TokenId right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  std::vector<Entry> entries_;
  int shift_ = 0;
  size_t mask_ = 0;
};

class Bpe {
 public:
  struct Scratch {
    std::vector<TokenId> ids;
    std::vector<int32_t> prev, next;
    std::vector<uint64_t> heap;  // rank in the upper half, position in the lower: a min-heap
    uint64_t pairs_queued = 0;   // in all calls: long words cost this times its logarithm
  };

  // pieces[id]: the bytes or characters of a token that words may become; empty for those they may
  // not (control tokens). Merges that would give such a token are left out.
  static Bpe Make(const std::vector<std::string>& pieces, std::vector<BpeMerge> merges,
                  const BpeOptions& options);

  // Appends the tokens of `word`. Symbols without a token give the unknown token; where the model
  // has none they are dropped, as Hugging Face's BPE does.
  void Encode(std::string_view word, Scratch* scratch, std::vector<TokenId>* ids) const;

  // Appends the tokens of bytes that are not UTF-8, one per byte.
  void EncodeBytes(std::string_view bytes, std::vector<TokenId>* ids) const;

  TokenId Find(std::string_view piece) const { return pieces_.Find(piece); }

 private:
  Bpe(MergeTable merges, const BpeOptions& options)
      : merges_(std::move(merges)), options_(options) {}
  void Start(std::string_view word, std::vector<TokenId>* symbols) const;
  size_t MergeShort(TokenId* symbols, size_t count) const;
  void MergeLong(Scratch* scratch, std::vector<TokenId>* ids) const;

  PieceTable pieces_;
  MergeTable merges_;
  BpeOptions options_;
  // Tokens that their own spelling encodes to: one look-up settles a word.
  std::vector<bool> direct_;
};

}  // namespace pingti::text
