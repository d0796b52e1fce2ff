// Concatenation, nearest names, sizes, durations, ids and hashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <set>
#include <string>

#include "common/base/edit_distance.h"
#include "common/base/random_id.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "common/base/units.h"

namespace pingti {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

TEST(ConcatTest, JoinsTextNumbersAndBooleans) {
  EXPECT_EQ(Concat("a", std::string("b"), std::string_view("c"), 'd', 1, -2, uint64_t{3}, true),
            "abcd1-23true");
  EXPECT_EQ(Concat(0.1, " ", 1e300, " ", 2.0), "0.1 1e+300 2");
  EXPECT_EQ(Concat(), "");
}

TEST(EditDistanceTest, CountsEditsAndSwaps) {
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("port", "prot"), 1u);
  EXPECT_EQ(EditDistance("same", "same"), 0u);
}

TEST(NearestNameTest, FindsTheOneMeantOrNothing) {
  EXPECT_EQ(NearestName("max_batch_token", {"port", "max_batch_tokens", "max_batch_size"}),
            "max_batch_tokens");
  EXPECT_EQ(NearestName("colour", {"port", "max_batch_tokens"}), std::nullopt);
  EXPECT_EQ(NearestName("x", {}), std::nullopt);
}

TEST(ByteSizeTest, ReadsUnits) {
  EXPECT_EQ(*ParseByteSize("17"), 17);
  EXPECT_EQ(*ParseByteSize("17B"), 17);
  EXPECT_EQ(*ParseByteSize("100M"), 100 << 20);
  EXPECT_EQ(*ParseByteSize("100mb"), 100'000'000);
  EXPECT_EQ(*ParseByteSize("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(*ParseByteSize("1.5 KiB"), 1536);
  EXPECT_EQ(*ParseByteSize("3T"), int64_t{3} << 40);
  EXPECT_EQ(*ParseByteSize("0"), 0);
}

TEST(ByteSizeTest, RefusesWhatIsNoSizeByName) {
  for (const char* text : {"", "M", "-1", "1X", "1.5", "1.2.3M", "0.0001K", "1e3", "99999999999T",
                           "99999999999999999999", "1 M B", "nan"}) {
    const auto size = ParseByteSize(text);
    EXPECT_FALSE(size.ok()) << text << " gave " << *size;
    EXPECT_THAT(std::string(size.status().message()), HasSubstr(Concat("'", text, "'")));
  }
}

TEST(ByteSizeTest, WritesWhatReadsBackTheSame) {
  EXPECT_EQ(FormatByteSize(0), "0B");
  EXPECT_EQ(FormatByteSize(1000), "1000B");
  EXPECT_EQ(FormatByteSize(1536 << 10), "1536KiB");
  EXPECT_EQ(FormatByteSize(100 << 20), "100MiB");
  for (const int64_t bytes : {int64_t{1}, int64_t{1023}, int64_t{1} << 50, int64_t{12345678},
                              std::numeric_limits<int64_t>::max()}) {
    EXPECT_EQ(*ParseByteSize(FormatByteSize(bytes)), bytes);
  }
}

TEST(DurationTest, ReadsUnits) {
  EXPECT_EQ(*ParseDuration("250ms"), milliseconds(250));
  EXPECT_EQ(*ParseDuration("30s"), milliseconds(30'000));
  EXPECT_EQ(*ParseDuration("1.5h"), milliseconds(5'400'000));
  EXPECT_EQ(*ParseDuration("2m"), milliseconds(120'000));
  EXPECT_EQ(*ParseDuration("1d"), milliseconds(86'400'000));
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
}

TEST(DurationTest, RefusesWhatIsNoDurationByName) {
  for (const char* text : {"", "5", "-1s", "0.5ms", "1S", "s", "1 week", "99999999999999d"}) {
    const auto duration = ParseDuration(text);
    EXPECT_FALSE(duration.ok()) << text;
    EXPECT_THAT(std::string(duration.status().message()), HasSubstr(Concat("'", text, "'")));
  }
}

TEST(DurationTest, WritesWhatReadsBackTheSame) {
  EXPECT_EQ(FormatDuration(milliseconds(90'000)), "90s");
  EXPECT_EQ(FormatDuration(milliseconds(120'000)), "2m");
  EXPECT_EQ(FormatDuration(milliseconds(1500)), "1500ms");
  EXPECT_EQ(FormatDuration(milliseconds(0)), "0ms");
  EXPECT_EQ(*ParseDuration(FormatDuration(milliseconds(0))), milliseconds(0));
}

// Gives one byte after the other, then counts up.
class FixedEntropy final : public EntropySource {
 public:
  void Fill(std::span<uint8_t> bytes) override {
    for (uint8_t& byte : bytes) byte = next_++;
  }

 private:
  uint8_t next_ = 240;
};

TEST(RandomIdTest, SkipsBytesThatWouldBiasTheAlphabet) {
  FixedEntropy entropy;
  // 240..247 map to letters 54..61, 248..255 are drawn again, 0.. map to 0..
  EXPECT_EQ(RandomId("chatcmpl-", &entropy), "chatcmpl-stuvwxyz0123456789ABCDEF");
}

TEST(RandomIdTest, IdsOfTheOperatingSystemDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(RandomId("r-", OsEntropy()));
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_EQ(ids.begin()->size(), 26u);
}

TEST(Sha256Test, MatchesThePublishedVectors) {
  EXPECT_EQ(ToHex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(ToHex(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, PiecesGiveTheSameAsTheWhole) {
  Sha256Hasher hasher;
  hasher.Update("a");
  hasher.Update("");
  hasher.Update("bc");
  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
  EXPECT_EQ(hasher.Finish(), Sha256("")) << "Finish starts anew";
}

}  // namespace
}  // namespace pingti
