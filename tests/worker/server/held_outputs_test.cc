// What waits for others of its sequence, and for how long.
#include "worker/server/held_outputs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;

// At(0) is a multiple of 50 and of 200 ms.
constexpr TimePoint At(int ms) { return TimePoint(milliseconds(1'000'000 + ms)); }

SequenceOutput Said(uint64_t id, std::vector<int32_t> tokens, int interval_ms,
                    bool finish = false) {
  SequenceOutput output;
  output.sequence_id = id;
  output.token_ids = std::move(tokens);
  output.interval = milliseconds(interval_ms);
  for (const int32_t token : output.token_ids) {
    output.logprobs.push_back({static_cast<float>(-token), {}});
  }
  if (finish) output.finish.emplace().reason = FinishReason::kStopToken;
  return output;
}

std::vector<int32_t> Ids(const std::vector<SequenceOutput>& outputs) {
  std::vector<int32_t> ids;
  for (const SequenceOutput& output : outputs) {
    ids.push_back(static_cast<int32_t>(output.sequence_id));
  }
  return ids;
}

class HeldOutputsTest : public ::testing::Test {
 protected:
  // Whether it goes at once; it is in `output_` then.
  bool Goes(SequenceOutput output, int ms) {
    output_ = std::move(output);
    return !held_.Hold(&output_, At(ms));
  }
  HeldOutputs held_;
  SequenceOutput output_;
};

TEST_F(HeldOutputsTest, WithoutAnIntervalNothingIsHeld) {
  for (int step = 0; step < 3; ++step) {
    EXPECT_TRUE(Goes(Said(1, {step}, 0), 10 + step));
    EXPECT_EQ(output_.token_ids, std::vector<int32_t>{step});
  }
  EXPECT_EQ(held_.due(), TimePoint::max());
}

TEST_F(HeldOutputsTest, TheFirstGoesAtOnceAndTheOthersTogetherAtTheNextMultiple) {
  EXPECT_TRUE(Goes(Said(1, {10}, 50), 5));
  EXPECT_FALSE(Goes(Said(1, {11}, 50), 20));
  EXPECT_FALSE(Goes(Said(1, {12, 13}, 50), 40));
  EXPECT_EQ(held_.due(), At(50));
  EXPECT_TRUE(held_.TakeDue(At(49)).empty());
  const std::vector<SequenceOutput> due = held_.TakeDue(At(51));
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].token_ids, (std::vector<int32_t>{11, 12, 13}));
  ASSERT_EQ(due[0].logprobs.size(), 3u);
  EXPECT_EQ(due[0].logprobs[2].logprob, -13.0f);
  EXPECT_EQ(held_.due(), TimePoint::max());
  EXPECT_FALSE(Goes(Said(1, {14}, 50), 60));
  EXPECT_EQ(held_.due(), At(100));
}

TEST_F(HeldOutputsTest, TheEndTakesWhatIsHeldAlong) {
  EXPECT_TRUE(Goes(Said(1, {10}, 50), 5));
  EXPECT_FALSE(Goes(Said(1, {11}, 50), 20));
  EXPECT_TRUE(Goes(Said(1, {12}, 50, /*finish=*/true), 21));
  EXPECT_EQ(output_.token_ids, (std::vector<int32_t>{11, 12}));
  EXPECT_EQ(output_.logprobs.size(), 2u);
  ASSERT_TRUE(output_.finish.has_value());
  EXPECT_TRUE(held_.TakeDue(At(1000)).empty());
  // The id may be used again: its first output is a first one.
  EXPECT_TRUE(Goes(Said(1, {13}, 50), 22));
}

TEST_F(HeldOutputsTest, AnAnswerOfOneOutputLeavesNothingBehind) {
  EXPECT_TRUE(Goes(Said(1, {10}, 50, /*finish=*/true), 5));
  EXPECT_TRUE(Goes(Said(1, {11}, 50), 6)) << "a first one";
}

TEST_F(HeldOutputsTest, StepsLongerThanTheIntervalWaitForNothing) {
  for (int step = 0; step < 5; ++step) {
    EXPECT_TRUE(Goes(Said(1, {step}, 50), 5 + 60 * step)) << step;
    EXPECT_EQ(output_.token_ids, std::vector<int32_t>{step});
  }
  EXPECT_EQ(held_.due(), TimePoint::max());
}

TEST_F(HeldOutputsTest, SequencesOfOneIntervalGoTogetherInOrder) {
  for (const int id : {3, 1, 2}) EXPECT_TRUE(Goes(Said(id, {0}, 50), 10 * id));
  for (const int id : {3, 1, 2}) EXPECT_FALSE(Goes(Said(id, {1}, 50), 40 + id));
  EXPECT_EQ(Ids(held_.TakeDue(At(50))), (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(HeldOutputsTest, EachIntervalHasTimesOfItsOwn) {
  EXPECT_TRUE(Goes(Said(1, {0}, 50), 5));
  EXPECT_TRUE(Goes(Said(2, {0}, 200), 5));
  EXPECT_FALSE(Goes(Said(2, {1}, 200), 6));
  EXPECT_EQ(held_.due(), At(200));
  EXPECT_FALSE(Goes(Said(1, {1}, 50), 6));
  EXPECT_EQ(held_.due(), At(50));
  EXPECT_EQ(Ids(held_.TakeDue(At(50))), std::vector<int32_t>{1});
  EXPECT_EQ(held_.due(), At(200));
  EXPECT_EQ(Ids(held_.TakeDue(At(200))), std::vector<int32_t>{2});
}

TEST_F(HeldOutputsTest, SamplesOfOneSequenceAreApart) {
  SequenceOutput other = Said(1, {20}, 50);
  other.sample_index = 1;
  EXPECT_TRUE(Goes(Said(1, {10}, 50), 5));
  EXPECT_TRUE(Goes(other, 6)) << "its own first";
  EXPECT_FALSE(Goes(Said(1, {11}, 50), 7));
  other.token_ids = {21};
  other.finish.emplace();
  EXPECT_TRUE(Goes(other, 8));
  EXPECT_EQ(output_.token_ids, std::vector<int32_t>{21});
  EXPECT_EQ(Ids(held_.TakeDue(At(50))), std::vector<int32_t>{1});
}

TEST_F(HeldOutputsTest, ALateTurnDoesNotDelayTheNextOne) {
  EXPECT_TRUE(Goes(Said(1, {0}, 50), 5));
  EXPECT_FALSE(Goes(Said(1, {1}, 50), 6));
  EXPECT_EQ(held_.TakeDue(At(90)).size(), 1u);
  EXPECT_FALSE(Goes(Said(1, {2}, 50), 95));
  EXPECT_EQ(held_.due(), At(100));
}

// Random steps and turns, against lists of what was said.
TEST_F(HeldOutputsTest, EveryAnswerGetsItsTokensInOrderAndWithinItsInterval) {
  std::mt19937 random(5);
  std::map<uint64_t, std::vector<int32_t>> said, taken;
  std::map<uint64_t, int> oldest;  // of what is held: when it was said
  std::map<uint64_t, bool> ended;
  const auto take = [&](const SequenceOutput& output) {
    auto& tokens = taken[output.sequence_id];
    tokens.insert(tokens.end(), output.token_ids.begin(), output.token_ids.end());
    EXPECT_FALSE(ended[output.sequence_id]);
    ended[output.sequence_id] = output.finish.has_value();
    oldest.erase(output.sequence_id);
  };
  int32_t token = 0;
  uint64_t base = 0;  // the ids in use begin here
  for (int ms = 0; ms < 5'000; ms += static_cast<int>(random() % 15)) {
    if (held_.due() <= At(ms)) {
      for (const SequenceOutput& output : held_.TakeDue(At(ms))) take(output);
    }
    for (const auto& [id, since] : oldest) ASSERT_LT(ms, since + 20 * (1 + id % 3)) << id;
    for (uint64_t id = base; id < base + 6; ++id) {
      if (ended[id] || random() % 3 == 0) continue;
      said[id].push_back(++token);
      const bool finish = random() % 20 == 0;
      SequenceOutput output = Said(id, {token}, 20 * static_cast<int>(1 + id % 3), finish);
      if (held_.Hold(&output, At(ms))) {
        oldest.emplace(id, ms);
      } else {
        take(output);
      }
    }
    while (ended[base]) ++base;
  }
  for (const SequenceOutput& output : held_.TakeDue(At(10'000))) take(output);
  EXPECT_GT(base, 20u);
  EXPECT_EQ(taken, said);
}

}  // namespace
}  // namespace pingti::worker
