// A head beside its model in the engine: answers are those without it, and what it drafts for a
// text does not depend on how the text came about: in chunks, beside others, behind a reused
// prefix, after drafts that fell.
#include "worker/speculation/head_drafts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/testing/source_dir.h"
#include "tests/worker/backend/device_under_test.h"
#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/mixed_requests.h"
#include "worker/model/load_model.h"
#include "worker/model/open_checkpoint.h"
#include "worker/model/open_draft_head.h"

namespace pingti::worker {
namespace {

using Drafted = std::map<std::vector<int32_t>, std::vector<int32_t>>;  // by the text before

// Notes what is proposed for sequences that are drawn greedily. With `pauses`, a text gets drafts
// within one stretch of so many tokens and none within the next.
class Watched : public DraftSource {
 public:
  explicit Watched(DraftSource* source, size_t pauses = 0) : source_(source), pauses_(pauses) {}
  void AfterStep(std::span<const ComputedTokens> computed) override {
    source_->AfterStep(computed);
  }
  void Propose(std::span<DraftAsk> asks) override {
    const auto served = std::partition(asks.begin(), asks.end(), [&](const DraftAsk& ask) {
      return pauses_ == 0 || ask.sequence->tokens.size() / pauses_ % 2 == 1;
    });
    source_->Propose({asks.begin(), served});
    for (const DraftAsk& ask : asks) {
      EXPECT_LE(static_cast<int32_t>(ask.drafts.size()), ask.most);
      num_proposed += static_cast<int64_t>(ask.drafts.size());
      const RequestGroup& group = *ask.sequence->group;
      if (!ask.drafts.empty() && group.request.sampling.temperature == 0.0f) {
        drafted[ask.sequence->tokens] = ask.drafts;
      }
    }
  }
  Drafted drafted;
  int64_t num_proposed = 0;

 private:
  DraftSource* const source_;
  const size_t pauses_;
};

class HeadDraftsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string_view(GetParam()) == "eagle3") {
      checkpoint_ = *OpenCheckpoint(SourcePath("tests/golden/model/tiny/llama_mqa_bias_tied_d64"));
      head_ = *OpenDraftHead(SourcePath("tests/golden/model/eagle3/whole"), checkpoint_->spec());
    } else {
      checkpoint_ = *OpenCheckpoint(SourcePath("tests/golden/model/tiny/") + GetParam());
      head_ = *OpenMtpModule(*checkpoint_);
    }
    device_ = testing::MakeDeviceUnderTest();
    LoadOptions options;
    options.format = WeightFormat::kF32;
    options.draft_head = &head_;
    model_ = *LoadModel(*checkpoint_, device_->backend(), options);
  }

  struct Ran {
    CollectedMap out;
    Drafted drafted;
    int64_t num_proposed = 0;
  };
  Ran Run(const std::vector<Request>& requests, CoreSetup setup, bool with_drafts,
          size_t pauses = 0) {
    HeadDrafts source(model_->draft_head());
    Watched watched(&source, pauses);
    setup.max_rows = 64;
    if (with_drafts) setup.drafts = &watched;
    CoreDriver driver(model_.get(), setup);
    for (const Request& request : requests) driver.Submit(request);
    driver.RunAll();
    return {std::move(driver.out), std::move(watched.drafted), watched.num_proposed};
  }

  // The drafts for the end of a text that is new to the model, which computes it in one step.
  std::vector<int32_t> DraftsFor(const std::vector<int32_t>& text) {
    Request request = MakeRequest(1, {text.begin(), text.end() - 1}, 20);
    request.sampling.temperature = 0.0f;
    request.stop.ignore_eos = true;
    CoreSetup setup;
    setup.max_tokens = 512;
    const Ran ran = Run({request}, setup, true);
    const auto found = ran.drafted.find(text);
    return found == ran.drafted.end() ? std::vector<int32_t>() : found->second;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  OpenedDraftHead head_;
  std::unique_ptr<testing::DeviceUnderTest> device_;
  std::unique_ptr<Model> model_;
};

TEST_P(HeadDraftsTest, ChangeNoAnswer) {
  const std::vector<Request> requests = MixedRequests();
  CoreSetup setup;
  setup.num_blocks = 1024;
  const CollectedMap plain = Run(requests, setup, false).out;
  const struct {
    int32_t num_blocks;
    size_t pauses;
  } cases[] = {{1024, 0}, {48, 0}, {48, 9}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.num_blocks);
    SCOPED_TRACE(c.pauses);
    CoreSetup with = setup;
    with.num_blocks = c.num_blocks;  // few: sequences are preempted
    const Ran ran = Run(requests, with, true, c.pauses);
    EXPECT_GT(ran.num_proposed, 20);
    ASSERT_EQ(ran.out.size(), plain.size());
    for (const auto& [key, expected] : plain) {
      EXPECT_EQ(ran.out.at(key).tokens, expected.tokens) << key.first << ", " << key.second;
    }
  }
}

std::vector<Request> GreedyRequests() {
  std::vector<Request> requests;
  for (uint64_t id = 1; id <= 5; ++id) {
    std::vector<int32_t> prompt;
    for (uint64_t i = 0; i < 5 + 11 * id; ++i) {
      prompt.push_back(static_cast<int32_t>((13 * id * id + 37 * i) % 90 + 3));
    }
    Request request = MakeRequest(id, prompt, 24);
    request.sampling.temperature = 0.0f;
    request.stop.ignore_eos = true;
    requests.push_back(request);
  }
  return requests;
}

struct Compared {
  int texts = 0;
  int equal = 0;
};

TEST_P(HeadDraftsTest, NothingIsReadWhileNothingIsProposedButManyTokensAtOnce) {
  CoreSetup setup;
  std::vector<Request> requests = GreedyRequests();
  int64_t num_tokens = 0;
  for (Request& request : requests) {
    request.speculate = false;
    num_tokens += static_cast<int64_t>(request.prompt_token_ids.size()) + 24;
  }
  DraftHead* const head = model_->draft_head();
  setup.max_tokens = 512;  // as many as the head reads at once
  ASSERT_LT(num_tokens, setup.max_tokens);
  Run(requests, setup, true);
  EXPECT_EQ(head->num_read(), 0);
  setup.max_tokens = 96;
  Run(requests, setup, true);
  EXPECT_GT(head->num_read(), num_tokens - 2 * setup.max_tokens);
  EXPECT_LT(head->num_read(), num_tokens);
}

TEST_P(HeadDraftsTest, AreThoseOfTheTextAfterAPause) {
  CoreSetup setup;
  const Ran ran = Run(GreedyRequests(), setup, true, 7);
  int texts = 0;
  for (const auto& [text, drafts] : ran.drafted) {
    if (text.size() % 7 != 0) continue;  // the first behind a pause
    const std::vector<int32_t> fresh = DraftsFor(text);
    if (fresh.empty()) continue;
    ++texts;
    const auto common = static_cast<int64_t>(std::min(fresh.size(), drafts.size()));
    EXPECT_TRUE(std::equal(fresh.begin(), fresh.begin() + common, drafts.begin()))
        << "behind " << text.size() << " tokens";
  }
  EXPECT_GT(texts, 4);
}

TEST_P(HeadDraftsTest, AreThoseOfTheTextHoweverItCameAbout) {
  CoreSetup setup;
  setup.max_tokens = 24;  // prompts take several steps
  setup.max_sequences = 4;
  setup.max_rows = 64;
  HeadDrafts source(model_->draft_head());
  Watched watched(&source);
  setup.drafts = &watched;
  std::vector<Request> requests = GreedyRequests();
  Drafted first;
  {
    CoreDriver driver(model_.get(), setup);
    for (const Request& request : requests) driver.Submit(request);
    driver.RunAll();
    first = std::exchange(watched.drafted, {});
    // Each goes on from what was said, whose blocks are reused.
    for (Request& request : requests) {
      const std::vector<int32_t>& said = driver.Get(request.sequence_id).tokens;
      request.prompt_token_ids.insert(request.prompt_token_ids.end(), said.begin(), said.end());
      request.sequence_id += 100;
      driver.Submit(request);
    }
    driver.RunAll();
    EXPECT_GT(driver.Get(101).cached_prompt_tokens, 16);
  }
  const auto compare = [&](const Drafted& drafted) {
    Compared compared;
    int seen = 0;
    for (const auto& [text, drafts] : drafted) {
      if (seen++ % 4 != 0) continue;
      const std::vector<int32_t> fresh = DraftsFor(text);
      // None for the prompts themselves: the model would have said something else.
      if (fresh.empty()) continue;
      ++compared.texts;
      const size_t common = std::min(fresh.size(), drafts.size());
      compared.equal +=
          std::equal(fresh.begin(), fresh.begin() + static_cast<int64_t>(common), drafts.begin());
    }
    return compared;
  };
  const Compared plain = compare(first);
  EXPECT_GT(plain.texts, 15);
  EXPECT_EQ(plain.equal, plain.texts);
  // The head has not read the last step of an answer that ended, whose block may be reused.
  const Compared reused = compare(watched.drafted);
  EXPECT_GT(reused.texts, 15);
  EXPECT_GE(reused.equal, reused.texts * 8 / 10);
}

INSTANTIATE_TEST_SUITE_P(Heads, HeadDraftsTest,
                         ::testing::Values("eagle3", "mimo_d64", "deepseek_v3_d576"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace pingti::worker
