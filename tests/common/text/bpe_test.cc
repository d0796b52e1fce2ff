// Byte pair encoding against its definition, and how much work long words are.
#include "common/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace pingti::text {
namespace {

// All bytes, then what merging makes of them; merges in the order given.
struct Model {
  std::vector<std::string> pieces;
  std::vector<BpeMerge> merges;

  Model() {
    for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  }
  TokenId Find(const std::string& piece) const {
    const auto found = std::find(pieces.begin(), pieces.end(), piece);
    return found == pieces.end() ? kNoToken : static_cast<TokenId>(found - pieces.begin());
  }
  void Merge(const std::string& left, const std::string& right) {
    if (Find(left + right) == kNoToken) pieces.push_back(left + right);
    merges.push_back(
        {Find(left), Find(right), Find(left + right), static_cast<int32_t>(merges.size())});
  }
  // One piece for every doubling of `unit`.
  void MergeRuns(std::string unit, int doublings) {
    for (size_t i = 1; i < unit.size(); ++i) Merge(unit.substr(0, i), unit.substr(i, 1));
    for (; doublings > 0; --doublings, unit += unit) Merge(unit, unit);
  }
  Bpe Make() const {
    BpeOptions options;
    for (size_t byte = 0; byte < 256; ++byte) {
      options.byte_tokens[byte] = static_cast<TokenId>(byte);
    }
    return Bpe::Make(pieces, merges, options);
  }
};

// The definition: the lowest rank first, leftmost of equals, one pair at a time.
std::vector<TokenId> Naive(const Model& model, const std::string& word) {
  std::map<std::pair<TokenId, TokenId>, const BpeMerge*> merges;
  for (const BpeMerge& merge : model.merges) merges[{merge.left, merge.right}] = &merge;
  std::vector<TokenId> ids;
  for (const char c : word) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    const BpeMerge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = merges.find({ids[i], ids[i + 1]});
      if (found == merges.end()) continue;
      if (best == nullptr || found->second->rank < best->rank) {
        best = found->second;
        at = i;
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// What words of no merges start as, character by character, in every combination of options.
TEST(BpeTest, CharactersOutsideTheVocabularyAreBytesOrUnknown) {
  // Tokens 0 and 1 are characters, 2 is the unknown one, 3 to 5 are the bytes of 'b' and of
  // U+00FC; U+00DF shares its first byte and lacks the second.
  const std::vector<std::string> pieces = {"a", "\xC3\xA9", "<unk>", "", "", ""};
  BpeOptions options;
  options.byte_tokens.fill(kNoToken);
  options.byte_tokens['b'] = 3;
  options.byte_tokens[0xC3] = 4;
  options.byte_tokens[0xBC] = 5;
  struct Symbol {
    std::string text;
    std::vector<TokenId> as_character, as_bytes;  // kNoToken: unknown
  };
  const std::vector<Symbol> symbols = {
      {"a", {0}, {kNoToken}},
      {"\xC3\xA9", {1}, {4, kNoToken}},
      {"b", {3}, {3}},
      {"\xC3\xBC", {4, 5}, {4, 5}},
      {"\xC3\x9F", {kNoToken}, {4, kNoToken}},
      {"c", {kNoToken}, {kNoToken}},
  };
  const size_t count = symbols.size();
  for (const bool as_bytes : {false, true}) {
    for (const TokenId unknown : {kNoToken, TokenId{2}}) {
      for (const bool fuse : {false, true}) {
        options.byte_symbols = as_bytes;
        options.unknown = unknown;
        options.fuse_unknown = fuse;
        const Bpe bpe = Bpe::Make(pieces, {}, options);
        Bpe::Scratch scratch;
        for (size_t word = 0; word < count * count * count; ++word) {
          std::string text;
          std::vector<TokenId> want;
          for (const size_t digit : {word % count, word / count % count, word / count / count}) {
            const Symbol& symbol = symbols[digit];
            text += symbol.text;
            for (const TokenId id : as_bytes ? symbol.as_bytes : symbol.as_character) {
              if (id != kNoToken) {
                want.push_back(id);
              } else if (unknown != kNoToken &&
                         !(fuse && !want.empty() && want.back() == unknown)) {
                want.push_back(unknown);
              }
            }
          }
          std::vector<TokenId> got;
          bpe.Encode(text, &scratch, &got);
          ASSERT_EQ(got, want) << text << ", bytes " << as_bytes << ", unknown " << unknown
                               << ", fused " << fuse;
        }
      }
    }
  }
}

TEST(BpeTest, RandomWordsOfEveryLengthGiveWhatTheDefinitionGives) {
  std::mt19937 rng(42);
  for (int round = 0; round < 30; ++round) {
    Model model;
    std::vector<std::string> known = {"a", "b", "c"};
    for (int i = 0; i < 25; ++i) {
      const std::string& left = known[rng() % known.size()];
      const std::string& right = known[rng() % known.size()];
      if (left.size() + right.size() > 12 || model.Find(left + right) != kNoToken) continue;
      model.Merge(left, right);
      known.push_back(left + right);
    }
    const Bpe bpe = model.Make();
    Bpe::Scratch scratch;
    for (size_t length = 1; length < 120; length += 1 + rng() % 7) {
      std::string word;
      for (size_t i = 0; i < length; ++i) word += static_cast<char>('a' + rng() % 3);
      std::vector<TokenId> ids;
      bpe.Encode(word, &scratch, &ids);
      EXPECT_EQ(ids, Naive(model, word)) << word;
    }
  }
}

// A word of n bytes has n - 1 pairs, and each of at most n - 1 joins makes two new ones.
TEST(BpeTest, NoWordQueuesMoreThanThreePairsAByte) {
  Model model;
  for (const char* unit : {"a", "7", " ", "\n", "ab", "\xF0\x9F\x98\x80", "'", "_="}) {
    model.MergeRuns(unit, 6);
  }
  const Bpe bpe = model.Make();
  for (const std::string unit : {"a", "7", " ", "\n", "ab", "\xF0\x9F\x98\x80", "'", "_="}) {
    std::string word;
    while (word.size() < (1u << 18)) word += unit;
    Bpe::Scratch scratch;
    std::vector<TokenId> ids;
    bpe.Encode(word, &scratch, &ids);
    EXPECT_GT(scratch.pairs_queued, 0u) << unit;
    EXPECT_LT(scratch.pairs_queued, 3 * word.size()) << unit;
    // All but a few tokens are the longest run there is a piece for.
    EXPECT_LT(ids.size(), word.size() / (unit.size() * 64) + 8) << unit;
  }
}

TEST(BpeTest, WordsShorterThanTheQueueIsWorthDoNotUseIt) {
  Model model;
  model.MergeRuns("a", 3);
  const Bpe bpe = model.Make();
  Bpe::Scratch scratch;
  std::vector<TokenId> ids;
  bpe.Encode("aaaaaaaaab", &scratch, &ids);
  EXPECT_EQ(scratch.pairs_queued, 0u);
  EXPECT_EQ(ids, Naive(model, "aaaaaaaaab"));
}

// Of thousands of symbols, merging would queue pairs.
TEST(BpeTest, WordsThatAreOneTokenAreLookedUp) {
  Model model;
  for (const char* unit : {"a", "b", "cd"}) model.MergeRuns(unit, 8);
  const Bpe bpe = model.Make();
  for (const std::string unit : {"a", "b", "cd"}) {
    std::string word;
    while (word.size() < unit.size() << 8) word += unit;
    ASSERT_NE(model.Find(word), kNoToken);
    Bpe::Scratch scratch;
    std::vector<TokenId> ids;
    bpe.Encode(word, &scratch, &ids);
    EXPECT_EQ(ids, std::vector<TokenId>{model.Find(word)});
    EXPECT_EQ(scratch.pairs_queued, 0u) << unit;
  }
}

}  // namespace
}  // namespace pingti::text
