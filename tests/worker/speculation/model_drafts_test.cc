// A draft model beside the served one: answers are the ordinary ones, and one that agrees saves
// nearly all steps. The fake model reads its context through the block table, so a draft model's
// wrong block, position or stale token shows as drafts that do not stand.
#include "worker/speculation/model_drafts.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

#include "tests/testing/fake_model.h"
#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {
namespace {

using pingti::testing::FakeModel;
using pingti::testing::FakeModelOptions;

constexpr uint64_t kRequests = 6;

Request RequestOf(uint64_t id) {
  std::vector<int32_t> prompt;
  for (uint64_t i = 0; i < 5 + 17 * id; ++i)
    prompt.push_back(static_cast<int32_t>(3 + (i * id) % 50));
  Request request = MakeRequest(id, prompt, 60);
  request.stop.ignore_eos = true;
  if (id % 2 == 0) request.sampling.temperature = 0.8f;
  if (id % 3 == 0) request.sampling.presence_penalty = 0.5f;
  request.sampling.seed = id;
  return request;
}

// Counts what is proposed and what stands.
class Watched : public DraftSource {
 public:
  explicit Watched(DraftSource* source) : source_(source) {}
  void Propose(std::span<DraftAsk> asks) override {
    source_->Propose(asks);
    for (const DraftAsk& ask : asks) {
      EXPECT_LE(static_cast<int32_t>(ask.drafts.size()), ask.most);
      num_proposed += static_cast<int64_t>(ask.drafts.size());
    }
  }
  int64_t num_proposed = 0;

 private:
  DraftSource* const source_;
};

struct Ran {
  std::unique_ptr<TestCore> test;
  int64_t num_proposed = 0;
  int64_t num_forwards = 0;
};

// `options`: of the draft model's memory; its vocabulary and context are `drafts`.
Ran RunWith(const FakeModelOptions& drafts, const ModelDrafts::Options& options) {
  FakeModel model(drafts);
  EXPECT_TRUE(model
                  .Allocate(options.num_blocks, options.block_tokens, options.max_batch_tokens,
                            options.max_batch_size)
                  .ok());
  CoreSetup setup;
  setup.max_rows = 64;
  ModelDrafts source(&model, setup.model.vocab_size, options);
  Watched watched(&source);
  setup.drafts = &watched;
  Ran ran;
  ran.test = std::make_unique<TestCore>(setup);
  for (uint64_t id = 1; id <= kRequests; ++id) ran.test->Submit(RequestOf(id));
  ran.test->RunAll();
  ran.num_proposed = watched.num_proposed;
  ran.num_forwards = ran.test->model.num_forwards();
  return ran;
}

const TestCore& Plain() {
  static const TestCore* const plain = [] {
    auto* test = new TestCore();
    for (uint64_t id = 1; id <= kRequests; ++id) test->Submit(RequestOf(id));
    test->RunAll();
    return test;
  }();
  return *plain;
}

void ExpectOrdinaryAnswers(const Ran& ran) {
  ASSERT_EQ(ran.test->out.size(), Plain().out.size());
  for (const auto& [key, expected] : Plain().out) {
    EXPECT_EQ(ran.test->out.at(key).tokens, expected.tokens) << key.first << ", " << key.second;
  }
}

TEST(ModelDrafts, OfTheSameModelStandAlsoAtATemperatureAndWithPenalties) {
  const Ran ran = RunWith(
      {}, {.num_blocks = 256, .block_tokens = 4, .max_batch_tokens = 256, .max_batch_size = 8});
  ExpectOrdinaryAnswers(ran);
  EXPECT_GT(ran.num_proposed, 200);
  EXPECT_LT(ran.num_forwards, Plain().model.num_forwards() / 2);
}

TEST(ModelDrafts, OfAnotherModelChangeNothing) {
  FakeModelOptions other;
  other.eos_token_id = 7;
  other.eos_penalty = 100.0f;
  other.vocab_size = 62;  // and some texts it cannot read
  const Ran ran = RunWith(
      other, {.num_blocks = 256, .block_tokens = 4, .max_batch_tokens = 256, .max_batch_size = 8});
  ExpectOrdinaryAnswers(ran);
  EXPECT_GT(ran.num_proposed, 20);
}

TEST(ModelDrafts, ALargerVocabularysTokensAreNotProposed) {
  FakeModelOptions larger;
  larger.vocab_size = 4096;
  ExpectOrdinaryAnswers(RunWith(
      larger,
      {.num_blocks = 256, .block_tokens = 4, .max_batch_tokens = 256, .max_batch_size = 8}));
}

TEST(ModelDrafts, ReadALongTextOverSeveralSteps) {
  const Ran ran = RunWith(
      {}, {.num_blocks = 256, .block_tokens = 4, .max_batch_tokens = 16, .max_batch_size = 8});
  ExpectOrdinaryAnswers(ran);
  EXPECT_GT(ran.num_proposed, 100);
}

TEST(ModelDrafts, GoToThoseThatAreThereWhenMemoryIsScarce) {
  // The longest text takes 43 blocks of 4.
  for (const int32_t num_blocks : {1, 20, 45, 60}) {
    SCOPED_TRACE(num_blocks);
    const Ran ran = RunWith(
        {},
        {.num_blocks = num_blocks, .block_tokens = 4, .max_batch_tokens = 64, .max_batch_size = 8});
    ExpectOrdinaryAnswers(ran);
    if (num_blocks > 20) {
      EXPECT_GT(ran.num_proposed, 20);
    }
  }
}

TEST(ModelDrafts, AreNoneForTextsBeyondTheModelsContext) {
  FakeModelOptions narrow;
  narrow.max_context_tokens = 8;
  const Ran ran = RunWith(
      narrow, {.num_blocks = 256, .block_tokens = 4, .max_batch_tokens = 64, .max_batch_size = 8});
  ExpectOrdinaryAnswers(ran);
  EXPECT_EQ(ran.num_proposed, 0);
}

TEST(ModelDrafts, AModelThatFailsProposesNothingMore) {
  FakeModel model{FakeModelOptions{}};
  ASSERT_TRUE(model.Allocate(64, 4, 64, 8).ok());
  model.FailForward(1, "lost");
  ModelDrafts source(&model, 64, {64, 4, 64, 8});
  CoreSetup setup;
  setup.drafts = &source;
  TestCore test(setup);
  test.Submit(RequestOf(1));
  test.RunAll();
  EXPECT_EQ(test.Get(1).tokens, Plain().out.at({1, 0}).tokens);
  EXPECT_LE(model.num_forwards(), 1);
}

}  // namespace
}  // namespace pingti::worker
