// Prompt lookup through the engine: what it proposes, and that answers are the ordinary ones.
#include "worker/speculation/ngram_drafts.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {
namespace {

std::vector<int32_t> Proposed(std::vector<int32_t> tokens, int32_t most) {
  NgramDrafts source;
  Sequence sequence;
  sequence.tokens = std::move(tokens);
  std::unique_ptr<DraftMemory> memory;
  DraftAsk ask{&sequence, &memory, most, {}};
  source.Propose(std::span(&ask, 1));
  EXPECT_NE(memory, nullptr);
  return ask.drafts;
}

TEST(NgramDrafts, GoOnAsTheTextDidAfterTheSameWords) {
  EXPECT_EQ(Proposed({1, 2, 3, 4, 5, 6, 1, 2, 3}, 2), (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(Proposed({9, 2, 3, 4, 8, 1, 2, 3, 4, 7, 1, 2, 3, 4}, 1), (std::vector<int32_t>{7}))
      << "the longer match, not one of three tokens";
}

TEST(NgramDrafts, RepeatATextThatIsShorterThanWhatIsAsked) {
  EXPECT_EQ(Proposed({5, 5, 5, 5}, 3), (std::vector<int32_t>{5, 5, 5}));
  EXPECT_EQ(Proposed({1, 2, 1, 2, 1}, 5), (std::vector<int32_t>{2, 1, 2, 1, 2}));
}

TEST(NgramDrafts, AreNoneInATextWithoutRepetition) {
  EXPECT_TRUE(Proposed({1, 2, 3, 4, 5, 2, 3}, 7).empty());
  EXPECT_TRUE(Proposed({1}, 7).empty());
}

TEST(NgramDrafts, NeverChangeAnAnswerAndSaveStepsWhereItRepeats) {
  // A small vocabulary and little penalty on anything: the fake model comes back to its words.
  CoreSetup setup;
  setup.model.vocab_size = 16;
  setup.model.max_context_tokens = 512;
  const auto run = [&](DraftSource* drafts) {
    setup.drafts = drafts;
    auto test = std::make_unique<TestCore>(setup);
    for (uint64_t id = 1; id <= 4; ++id) {
      Request request = MakeRequest(id, {5, 6, 7, static_cast<int32_t>(id)}, 96);
      request.stop.ignore_eos = true;
      if (id % 2 == 0) {
        request.sampling.temperature = 0.7f;
        request.sampling.seed = id;
      }
      test->Submit(std::move(request));
    }
    test->RunAll();
    return test;
  };
  const auto plain = run(nullptr);
  NgramDrafts source;
  const auto drafted = run(&source);
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(drafted->Get(id).tokens, plain->Get(id).tokens);
  EXPECT_LE(drafted->model.num_forwards(), plain->model.num_forwards());
}

}  // namespace
}  // namespace pingti::worker
