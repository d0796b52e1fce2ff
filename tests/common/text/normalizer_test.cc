// Unicode normal forms and the other steps before words are looked for.
#include "common/text/normalizer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pingti::text {
namespace {

TEST(NormalizerTest, NormalFormsFollowTheUnicodeStandard) {
  struct Case {
    const char *text, *nfc, *nfd, *nfkc, *nfkd;
  };
  // Rows in the manner of UAX 15, figures 3 to 6.
  const Case cases[] = {
      {"plain", "plain", "plain", "plain", "plain"},
      {"e\u0301", "\u00e9", "e\u0301", "\u00e9", "e\u0301"},
      {"\u212b", "\u00c5", "A\u030a", "\u00c5", "A\u030a"},
      {"\ufb01", "\ufb01", "\ufb01", "fi", "fi"},
      {"2\u2075", "2\u2075", "2\u2075", "25", "25"},
      {"\u1e9b\u0323", "\u1e9b\u0323", "\u017f\u0323\u0307", "\u1e69", "s\u0323\u0307"},
      {"q\u0307\u0323", "q\u0323\u0307", "q\u0323\u0307", "q\u0323\u0307", "q\u0323\u0307"},
      {"\u1112\u1161\u11ab", "\ud55c", "\u1112\u1161\u11ab", "\ud55c", "\u1112\u1161\u11ab"},
      {"\ud558\u11ab", "\ud55c", "\u1112\u1161\u11ab", "\ud55c", "\u1112\u1161\u11ab"},
      {"\u30ab\u3099x", "\u30acx", "\u30ab\u3099x", "\u30acx", "\u30ab\u3099x"},
      {"\uff76\u3099", "\uff76\u3099", "\uff76\u3099", "\u30ac", "\u30ab\u3099"},
      {"\u0958", "\u0915\u093c", "\u0915\u093c", "\u0915\u093c", "\u0915\u093c"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(NormalizeUnicode(c.text, UnicodeForm::kNfc), c.nfc);
    EXPECT_EQ(NormalizeUnicode(c.text, UnicodeForm::kNfd), c.nfd);
    EXPECT_EQ(NormalizeUnicode(c.text, UnicodeForm::kNfkc), c.nfkc);
    EXPECT_EQ(NormalizeUnicode(c.text, UnicodeForm::kNfkd), c.nfkd);
  }
}

TEST(NormalizerTest, LongRunsOfMarksInTheWrongOrderAreSorted) {
  // Ordering by exchanging neighbours would need 10^11 steps here and run into the test's timeout.
  constexpr size_t kPairs = 300'000;
  std::string text = "a", expected = "a";
  for (size_t i = 0; i < kPairs; ++i) text += "\u0301\u0327";
  for (size_t i = 0; i < kPairs; ++i) expected += "\u0327";
  for (size_t i = 0; i < kPairs; ++i) expected += "\u0301";
  EXPECT_EQ(NormalizeUnicode(text, UnicodeForm::kNfd), expected);
}

TEST(NormalizerTest, StepsApplyInOrderAndNothingIsPrependedBehindBytes) {
  Normalizer normalizer;
  normalizer.Add(StripStep(true, true));
  normalizer.Add(LowercaseStep());
  normalizer.Add(PrependStep("_"));
  normalizer.Add(ReplaceStep(" ", "__"));
  EXPECT_EQ(*normalizer.Apply(" \u00a0A B\n", true), "_a__b");
  EXPECT_EQ(*normalizer.Apply("A B", false), "a__b");
  EXPECT_EQ(*normalizer.Apply("", true), "");
}

}  // namespace
}  // namespace pingti::text
