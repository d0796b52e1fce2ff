// Streams of tokens and text: Detokenizer and StopMatcher.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "common/text/detokenizer.h"
#include "common/text/stop_matcher.h"
#include "common/text/utf8.h"

namespace pingti::text {
namespace {

// Token `i` is the byte i; 256 is a control token, 257 is " word".
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool strips) : strips_(strips) {
    for (int byte = 0; byte < 256; ++byte) tokens_.emplace_back(1, static_cast<char>(byte));
    tokens_.push_back("<|end|>");
    tokens_.push_back(" word");
  }
  // With pieces of one to five bytes more, as byte-level vocabularies have them: cut anywhere.
  ByteTokenizer(bool strips, std::string_view text, std::mt19937* rng) : ByteTokenizer(strips) {
    for (int i = 0; i < 200; ++i) {
      const size_t begin = (*rng)() % text.size();
      tokens_.emplace_back(text.substr(begin, 1 + (*rng)() % 5));
    }
  }
  absl::Status Encode(std::string_view, const EncodeOptions&,
                      std::vector<TokenId>*) const override {
    return absl::UnimplementedError("not used here");
  }
  std::string_view TokenBytes(TokenId id) const override {
    return tokens_[static_cast<size_t>(id)];
  }
  bool IsSpecial(TokenId id) const override { return id == 256; }
  bool StripsLeadingSpace() const override { return strips_; }
  std::optional<TokenId> FindToken(std::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  std::optional<TokenId> bos_token_id() const override { return std::nullopt; }
  std::optional<TokenId> eos_token_id() const override { return std::nullopt; }

 private:
  bool strips_;
  std::vector<std::string> tokens_;
};

TEST(DetokenizerTest, HoldsACharacterBackUntilItIsComplete) {
  const ByteTokenizer tokenizer(false);
  Detokenizer detokenizer(&tokenizer, true);
  EXPECT_EQ(detokenizer.Push(0xF0), "");
  EXPECT_EQ(detokenizer.Push(0x9F), "");
  EXPECT_EQ(detokenizer.Push(0x98), "");
  EXPECT_EQ(detokenizer.Push(0x80), "\xF0\x9F\x98\x80");
  EXPECT_EQ(detokenizer.Push('a'), "a");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(DetokenizerTest, ReplacesWhatCannotBecomeACharacterOncePerMaximalPart) {
  const ByteTokenizer tokenizer(false);
  Detokenizer detokenizer(&tokenizer, true);
  EXPECT_EQ(detokenizer.Push(0xE4), "");
  EXPECT_EQ(detokenizer.Push(0xBD), "");
  EXPECT_EQ(detokenizer.Push('x'), "\uFFFDx");
  EXPECT_EQ(detokenizer.Push(0xFF), "\uFFFD");
  EXPECT_EQ(detokenizer.Push(0xED), "");
  EXPECT_EQ(detokenizer.Push(0xA0), "\uFFFD\uFFFD");
  EXPECT_EQ(detokenizer.Push(0xC3), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
}

TEST(DetokenizerTest, LeavesControlTokensOutUnlessAsked) {
  const ByteTokenizer tokenizer(false);
  Detokenizer hidden(&tokenizer, true), shown(&tokenizer, false);
  EXPECT_EQ(hidden.Push(256), "");
  EXPECT_EQ(shown.Push(256), "<|end|>");
}

TEST(DetokenizerTest, DropsOneLeadingSpaceOfSentencePieceText) {
  const ByteTokenizer tokenizer(true);
  Detokenizer detokenizer(&tokenizer, true);
  EXPECT_EQ(detokenizer.Push(256), "");
  EXPECT_EQ(detokenizer.Push(257), "word");
  EXPECT_EQ(detokenizer.Push(257), " word");
}

TEST(DetokenizerTest, RandomBytesInPiecesGiveTheReplacedWhole) {
  const ByteTokenizer tokenizer(false);
  std::mt19937 rng(20240726);
  for (int round = 0; round < 2000; ++round) {
    Detokenizer detokenizer(&tokenizer, true);
    std::string bytes, text;
    for (int i = 0; i < 12; ++i) {
      constexpr uint8_t kLikely[] = {0xE4, 0xBD, 0xA0, 0xF0, 0x9F, 0x98,
                                     0x80, 0xC3, 0xA9, 'a',  0xED};
      const uint8_t byte =
          rng() % 4 == 0 ? static_cast<uint8_t>(rng() % 256) : kLikely[rng() % std::size(kLikely)];
      bytes += static_cast<char>(byte);
      const std::string part = detokenizer.Push(byte);
      EXPECT_EQ(ValidUtf8Prefix(part), part.size());
      text += part;
    }
    text += detokenizer.Finish();
    EXPECT_EQ(text, ReplaceInvalidUtf8(bytes));
  }
}

TEST(DetokenizerTest, RandomPiecesOfTextComeOutWholeAndAsSoonAsTheyCan) {
  std::mt19937 rng(11);
  const std::string text =
      "a\u00e9\u4f60\u597d\U0001f600 x\u0301\U0001f468\u200d\U0001f469 \xC3\xE4\xBD "
      "\xF0\x9F\x98.\xFF";
  for (int round = 0; round < 500; ++round) {
    const bool strips = rng() % 2 == 0;
    const ByteTokenizer tokenizer(strips, text, &rng);
    Detokenizer detokenizer(&tokenizer, true);
    std::string bytes, shown;
    for (int i = 0; i < 30; ++i) {
      const auto id = static_cast<TokenId>(rng() % static_cast<uint32_t>(tokenizer.vocab_size()));
      if (!tokenizer.IsSpecial(id)) bytes += tokenizer.TokenBytes(id);
      const std::string part = detokenizer.Push(id);
      EXPECT_EQ(ValidUtf8Prefix(part), part.size());
      shown += part;
      // What is held back is the start of one character, so less than four bytes.
      const std::string_view seen = bytes;
      const std::string_view whole = strips && seen.starts_with(' ') ? seen.substr(1) : seen;
      size_t held = 0;
      for (size_t n = 1; n <= std::min<size_t>(3, whole.size()) && held == 0; ++n) {
        const DecodedChar last = DecodeUtf8(whole.substr(whole.size() - n));
        if (last.truncated && last.length == n) held = n;
      }
      EXPECT_EQ(shown, ReplaceInvalidUtf8(whole.substr(0, whole.size() - held)));
    }
    shown += detokenizer.Finish();
    const std::string_view seen = bytes;
    EXPECT_EQ(shown, ReplaceInvalidUtf8(strips && seen.starts_with(' ') ? seen.substr(1) : seen));
  }
}

TEST(StopMatcherTest, StopsAcrossPiecesAndKeepsTheTextBefore) {
  const StopStrings stops({"</s>", "\n\nUser:"});
  StopMatcher matcher(&stops);
  EXPECT_EQ(matcher.Push("Hi").text, "Hi");
  EXPECT_EQ(matcher.Push("!\n").text, "!");
  EXPECT_EQ(matcher.Push("\nUse").text, "");
  const StopMatcher::Result result = matcher.Push("r: more");
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.matched, "\n\nUser:");
  EXPECT_EQ(result.text, "");
}

TEST(StopMatcherTest, GivesBackWhatOnlyLookedLikeAStop) {
  const StopStrings stops({"abcd"});
  StopMatcher matcher(&stops);
  EXPECT_EQ(matcher.Push("xabc").text, "x");
  EXPECT_EQ(matcher.Push("ab").text, "abc");
  EXPECT_EQ(matcher.Finish(), "ab");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcherTest, WithoutStopsEverythingPassesAtOnce) {
  const StopStrings stops({});
  StopMatcher matcher(&stops);
  const StopMatcher::Result result = matcher.Push("anything");
  EXPECT_EQ(result.text, "anything");
  EXPECT_FALSE(result.stopped);
}

// Of the stops that end first the longest counts.
std::pair<std::string, std::string> NaiveStop(const std::string& text,
                                              const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop) && stop.size() > best.size()) best = stop;
    }
    if (!best.empty()) return {text.substr(0, end - best.size()), best};
  }
  return {text, ""};
}

TEST(StopMatcherTest, RandomTextInRandomPiecesStopsWhereASearchWould) {
  std::mt19937 rng(7);
  const auto random_text = [&](size_t size) {
    std::string text;
    for (size_t i = 0; i < size; ++i) text += static_cast<char>('a' + rng() % 2);
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i < 1 + rng() % 3; ++i) stops.push_back(random_text(3 + rng() % 5));
    const std::string text = random_text(rng() % 40);
    const auto [expected, expected_stop] = NaiveStop(text, stops);
    const StopStrings compiled(stops);
    StopMatcher matcher(&compiled);
    std::string sent, matched;
    for (size_t pos = 0; pos < text.size() && matched.empty();) {
      const size_t size = std::min<size_t>(1 + rng() % 4, text.size() - pos);
      const StopMatcher::Result result = matcher.Push(std::string_view(text).substr(pos, size));
      sent += result.text;
      matched = result.matched;
      pos += size;
    }
    if (matched.empty()) sent += matcher.Finish();
    EXPECT_EQ(sent, expected);
    EXPECT_EQ(matched, expected_stop);
  }
}

}  // namespace
}  // namespace pingti::text
