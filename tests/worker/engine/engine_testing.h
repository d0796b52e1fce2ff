// What the engine's tests share: a core over the fake model, a sink that collects, and the answer a
// request must get, computed without any cache, batch or scheduler.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "worker/engine/engine_core.h"

namespace pingti::worker {

// One sample as it arrived, step by step.
struct Collected {
  std::vector<int32_t> tokens;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;
  std::optional<Finish> finish;
  int32_t cached_prompt_tokens = 0;
  int num_outputs = 0;
};

using CollectedMap = std::map<std::pair<uint64_t, int32_t>, Collected>;

class CollectingSink : public SessionSink {
 public:
  explicit CollectingSink(CollectedMap* out) : out_(out) {}

  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    for (SequenceOutput& output : outputs) {
      Collected& to = (*out_)[{output.sequence_id, output.sample_index}];
      EXPECT_FALSE(to.finish.has_value()) << "output after the end of " << output.sequence_id;
      to.tokens.insert(to.tokens.end(), output.token_ids.begin(), output.token_ids.end());
      for (auto& logprob : output.logprobs) to.logprobs.push_back(logprob);
      if (!output.prompt_logprobs.empty()) to.prompt_logprobs = output.prompt_logprobs;
      if (to.num_outputs++ == 0) to.cached_prompt_tokens = output.cached_prompt_tokens;
      if (output.finish) to.finish = output.finish;
    }
  }
  void OnAccepted(uint64_t) override {}

 private:
  CollectedMap* const out_;
};

inline constexpr int32_t kEos = 2;

struct CoreSetup {
  pingti::testing::FakeModelOptions model;
  int32_t num_blocks = 256;
  int32_t block_tokens = 4;
  int32_t max_tokens = 64;
  int32_t max_sequences = 8;
  int32_t max_rows = 0;  // 0: max_sequences
  int32_t max_waiting = 1024;
  std::shared_ptr<const grammar::Vocabulary> vocabulary;  // null: no grammars
  MaskLimits mask_limits;
  DraftSource* drafts = nullptr;
};

// A core over any model, stepped by hand, that checks its invariants after every step.
class CoreDriver {
 public:
  CoreDriver(Model* model, const CoreSetup& setup) {
    EXPECT_TRUE(
        model->Allocate(setup.num_blocks, setup.block_tokens, setup.max_tokens, setup.max_sequences)
            .ok());
    EngineOptions options;
    options.budget = {setup.max_tokens, setup.max_sequences, setup.max_rows};
    options.num_kv_blocks = setup.num_blocks;
    options.kv_block_tokens = setup.block_tokens;
    options.max_waiting_sequences = setup.max_waiting;
    options.eos_token_ids = {kEos};
    options.vocabulary = setup.vocabulary;
    options.mask_limits = setup.mask_limits;
    options.drafts = setup.drafts;
    core = std::make_unique<EngineCore>(model, &clock, options, nullptr);
    core->OpenSession(1, std::make_unique<CollectingSink>(&out));
  }

  void Submit(Request request) { core->Submit(1, std::move(request)); }
  bool Step() {
    const bool progressed = core->Step();
    const absl::Status status = core->CheckInvariants();
    EXPECT_TRUE(status.ok()) << status.ToString();
    return progressed;
  }
  // Steps until nothing is left to do.
  void RunAll(int most_steps = 100'000) {
    while (core->has_work() && most_steps-- > 0) Step();
    Step();
    EXPECT_FALSE(core->has_work());
    EXPECT_EQ(core->load().kv_leased_blocks, 0);
  }
  Collected& Get(uint64_t id, int32_t sample = 0) { return out[{id, sample}]; }

  pingti::testing::FakeClock clock;
  CollectedMap out;
  std::unique_ptr<EngineCore> core;
};

struct FakeModelHolder {
  pingti::testing::FakeModel model;
};

// The same over a fake model of its own.
class TestCore : public FakeModelHolder, public CoreDriver {
 public:
  explicit TestCore(const CoreSetup& setup = {})
      : FakeModelHolder{pingti::testing::FakeModel(setup.model)}, CoreDriver(&model, setup) {}
};

inline Request MakeRequest(uint64_t id, std::vector<int32_t> prompt, int32_t max_tokens) {
  Request request;
  request.sequence_id = id;
  request.prompt_token_ids = std::move(prompt);
  request.stop.max_tokens = max_tokens;
  return request;
}

}  // namespace pingti::worker
