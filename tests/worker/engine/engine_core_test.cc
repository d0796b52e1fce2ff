// The engine core with a model whose answers depend on the whole context: what a client gets back,
// how sequences end, and that one bad request fails alone.
#include "worker/engine/engine_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <set>

#include "tests/worker/engine/engine_testing.h"

namespace pingti::worker {
namespace {

// Greedy continuation without cache or batch.
std::vector<int32_t> Greedy(const testing::FakeModel& model, std::vector<int32_t> context,
                            int32_t count) {
  std::vector<int32_t> output;
  for (int32_t i = 0; i < count; ++i) {
    SamplingRow row;
    row.temperature = 0.0f;
    const int32_t token = model.Draw(model.LogitsOf(context), row).token_id;
    output.push_back(token);
    if (token == kEos) break;
    context.push_back(token);
  }
  return output;
}

const std::vector<int32_t> kPrompt = {5, 6, 7, 8, 9, 10, 11};

TEST(EngineCore, GreedyTokensAreTheModelsOwn) {
  TestCore test;
  test.Submit(MakeRequest(1, kPrompt, 20));
  test.RunAll();
  EXPECT_EQ(test.Get(1).tokens, Greedy(test.model, kPrompt, 20));
  ASSERT_TRUE(test.Get(1).finish.has_value());
  EXPECT_EQ(test.Get(1).finish->usage.prompt_tokens, 7);
  EXPECT_EQ(test.Get(1).finish->usage.output_tokens,
            static_cast<int32_t>(test.Get(1).tokens.size()));
  EXPECT_EQ(test.Get(1).num_outputs, static_cast<int>(test.Get(1).tokens.size()))
      << "tokens leave step by step";
}

// Counts how often it is asked.
class ModelWithExperts : public pingti::testing::FakeModel {
 public:
  absl::StatusOr<std::optional<double>> TakeExpertImbalance() override {
    ++asked;
    return 1.0 + asked;
  }
  int asked = 0;
};

struct ImbalanceLog : EngineObserver {
  void OnStepEnd(const StepStats& stats, const LoadSnapshot&) override {
    if (stats.expert_imbalance.has_value()) told.push_back(*stats.expert_imbalance);
  }
  void OnCacheEvents(std::span<const CacheEvent>) override {}
  std::vector<double> told;
};

TEST(EngineCore, ExpertImbalanceIsAskedForEveryTenSeconds) {
  ModelWithExperts model;
  pingti::testing::FakeClock clock;
  ImbalanceLog log;
  ASSERT_TRUE(model.Allocate(64, 4, 64, 4).ok());
  EngineOptions options;
  options.budget = {64, 4, 4};
  options.num_kv_blocks = 64;
  options.kv_block_tokens = 4;
  EngineCore core(&model, &clock, options, &log);
  CollectedMap out;
  core.OpenSession(1, std::make_unique<CollectingSink>(&out));
  Request request = MakeRequest(1, kPrompt, 40);
  request.stop.ignore_eos = true;
  core.Submit(1, std::move(request));
  for (int second = 0; second < 25; ++second) {
    core.Step();
    clock.Advance(std::chrono::seconds(1));
  }
  EXPECT_EQ(log.told, (std::vector<double>{2.0, 3.0, 4.0})) << "at 0, 10 and 20 s";
  EXPECT_EQ(model.asked, 3);
}

TEST(EngineCore, EveryWayToEndIsNamed) {
  CoreSetup setup;
  setup.model.max_context_tokens = 40;
  TestCore test(setup);
  Request length = MakeRequest(1, kPrompt, 3);
  length.stop.ignore_eos = true;
  Request context = MakeRequest(2, kPrompt, 0);
  context.stop.ignore_eos = true;
  const std::vector<int32_t> free_run = Greedy(test.model, kPrompt, 5);
  Request stop = MakeRequest(3, kPrompt, 20);
  stop.stop.stop_token_ids = {free_run[2]};
  test.Submit(length);
  test.Submit(context);
  test.Submit(stop);
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(test.Get(1).tokens.size(), 3u);
  EXPECT_EQ(test.Get(2).finish->reason, FinishReason::kContextFull);
  EXPECT_EQ(test.Get(2).tokens.size(), 40u - kPrompt.size());
  EXPECT_EQ(test.Get(3).finish->reason, FinishReason::kStopToken);
  EXPECT_EQ(test.Get(3).finish->stop_token_id, free_run[2]);
  EXPECT_EQ(test.Get(3).tokens, std::vector<int32_t>(free_run.begin(), free_run.begin() + 3));
}

TEST(EngineCore, MinTokensThatLeaveNoTokenOfThoseAllowedEndTheRequestAlone) {
  for (const int num_beams : {1, 2}) {
    TestCore test;
    Request request = MakeRequest(1, kPrompt, 20);
    request.stop.min_tokens = 6;
    request.sampling.allowed_token_ids = {kEos};
    request.sampling.beam.num_beams = num_beams;
    test.Submit(request);
    test.Submit(MakeRequest(2, kPrompt, 6));
    test.RunAll();
    ASSERT_EQ(test.Get(1).finish->reason, FinishReason::kError);
    const absl::Status& status = test.Get(1).finish->status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("min_tokens"), absl::string_view::npos) << status;
    EXPECT_EQ(test.Get(2).tokens, Greedy(test.model, kPrompt, 6));
  }
}

TEST(EngineCore, MinTokensKeepsStopTokensAway) {
  CoreSetup setup;
  setup.model.eos_penalty = -100.0f;  // the model wants to end at once
  TestCore test(setup);
  Request request = MakeRequest(1, kPrompt, 20);
  request.stop.min_tokens = 6;
  test.Submit(request);
  test.RunAll();
  const auto& tokens = test.Get(1).tokens;
  EXPECT_EQ(tokens.size(), 7u);
  EXPECT_EQ(tokens.back(), kEos);
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), kEos), 1);
}

TEST(EngineCore, LogprobsComeWithEveryTokenAndForThePrompt) {
  TestCore test;
  Request request = MakeRequest(1, kPrompt, 4);
  request.logprobs = {true, 2, true};
  request.stop.ignore_eos = true;
  test.Submit(request);
  test.RunAll();
  const Collected& got = test.Get(1);
  ASSERT_EQ(got.logprobs.size(), 4u);
  ASSERT_EQ(got.prompt_logprobs.size(), kPrompt.size());
  EXPECT_EQ(got.prompt_logprobs[0].logprob, 0.0f);
  std::vector<int32_t> context;
  for (size_t i = 0; i + 1 < kPrompt.size(); ++i) {
    context.push_back(kPrompt[i]);
    SamplingRow row;
    row.temperature = 0.0f;
    row.num_top_logprobs = 64;
    const SampledToken all = test.model.Draw(test.model.LogitsOf(context), row);
    for (const TopLogprob& top : all.top) {
      if (top.token_id == kPrompt[i + 1]) {
        EXPECT_FLOAT_EQ(got.prompt_logprobs[i + 1].logprob, top.logprob);
      }
    }
    EXPECT_EQ(got.prompt_logprobs[i + 1].top.size(), 2u);
    EXPECT_EQ(got.prompt_logprobs[i + 1].top[0].token_id, all.top[0].token_id);
  }
  float sum = 0;
  for (const auto& logprob : got.logprobs) sum += logprob.logprob;
  EXPECT_FLOAT_EQ(got.finish->cumulative_logprob, sum);
}

TEST(EngineCore, CancelEndsASequenceAndFreesItsBlocks) {
  TestCore test;
  Request request = MakeRequest(1, kPrompt, 0);
  request.stop.ignore_eos = true;
  test.Submit(request);
  for (int i = 0; i < 5; ++i) test.Step();
  const uint64_t ids[] = {1, 77};
  test.core->Cancel(1, ids);
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kCancelled);
  EXPECT_EQ(test.Get(1).tokens.size(), 5u);
  EXPECT_EQ(test.out.size(), 1u) << "an unknown id is nothing";
}

TEST(EngineCore, AnEndedSessionTakesItsSequencesWithIt) {
  TestCore test;
  CollectedMap other;
  test.core->OpenSession(2, std::make_unique<CollectingSink>(&other));
  test.Submit(MakeRequest(1, kPrompt, 0));
  test.core->Submit(2, MakeRequest(1, kPrompt, 4));
  test.Step();
  test.core->CloseSession(1);
  test.RunAll();
  EXPECT_FALSE(test.Get(1).finish.has_value());
  EXPECT_TRUE((other[{1, 0}].finish.has_value()));
  // A session that ends with sequences just cancelled.
  CollectedMap third;
  test.core->OpenSession(3, std::make_unique<CollectingSink>(&third));
  test.core->Submit(3, MakeRequest(5, kPrompt, 4));
  const uint64_t ids[] = {5};
  test.core->Cancel(3, ids);
  test.core->CloseSession(3);
  test.RunAll();
}

TEST(EngineCore, DeadlinesEndWhatRunsAndWhatWaits) {
  CoreSetup setup;
  setup.max_sequences = 1;
  TestCore test(setup);
  for (uint64_t id = 1; id <= 2; ++id) {
    Request request = MakeRequest(id, kPrompt, 0);
    request.stop.ignore_eos = true;
    request.deadline = test.clock.Now() + std::chrono::seconds(1);
    test.Submit(request);
  }
  test.Step();
  test.clock.Advance(std::chrono::seconds(1));
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kDeadline);
  EXPECT_EQ(test.Get(2).finish->reason, FinishReason::kDeadline);
  EXPECT_TRUE(test.Get(2).tokens.empty());
}

TEST(EngineCore, ASearchThatIsCancelledBeforeItHasBeamsEndsAllItsAnswers) {
  TestCore test;
  Request request = MakeRequest(1, kPrompt, 9);
  request.sampling.beam = {4, 1.0f};
  request.sampling.n = 3;
  test.Submit(request);
  const uint64_t ids[] = {1};
  test.core->Cancel(1, ids);
  test.RunAll();
  for (int32_t answer = 0; answer < 3; ++answer) {
    ASSERT_TRUE(test.Get(1, answer).finish.has_value()) << answer;
    EXPECT_EQ(test.Get(1, answer).finish->reason, FinishReason::kCancelled);
    EXPECT_EQ(test.Get(1, answer).finish->usage.output_tokens, 0);
  }
  EXPECT_EQ(test.out.size(), 3u);
}

TEST(EngineCore, TheLoadHasThePromptTokensThatAreStillToBeComputed) {
  CoreSetup setup;
  setup.max_tokens = 8;
  TestCore test(setup);
  const auto prompt = [](int32_t first, size_t size) {
    std::vector<int32_t> tokens(size);
    for (size_t i = 0; i < size; ++i) tokens[i] = 3 + (first + static_cast<int32_t>(i)) % 60;
    return tokens;
  };
  test.Submit(MakeRequest(1, prompt(0, 20), 2));
  EXPECT_EQ(test.core->load().waiting_uncached_tokens, 20);
  test.Submit(MakeRequest(2, prompt(30, 10), 2));
  EXPECT_EQ(test.core->load().waiting_uncached_tokens, 30);
  test.Step();
  EXPECT_EQ(test.core->load().waiting_uncached_tokens, 22);
  test.RunAll();
  EXPECT_EQ(test.core->load().waiting_uncached_tokens, 0);
  test.Submit(MakeRequest(3, prompt(0, 20), 2));
  EXPECT_EQ(test.core->load().waiting_uncached_tokens, 4) << "four of its five blocks are there";
  test.RunAll();
}

// What routers would know of the cache.
class CacheWatcher final : public EngineObserver {
 public:
  void OnStepEnd(const StepStats&, const LoadSnapshot&) override {}
  void OnCacheEvents(std::span<const CacheEvent> events) override {
    for (const CacheEvent& event : events) {
      const bool changes = event.kind == CacheEvent::Kind::kStored ? known.insert(event.hash).second
                                                                   : known.erase(event.hash) == 1;
      EXPECT_TRUE(changes) << "told twice";
      num_removed += event.kind == CacheEvent::Kind::kRemoved ? 1 : 0;
    }
  }
  std::set<uint64_t> known;
  int num_removed = 0;
};

TEST(EngineCore, EveryChangeOfTheCacheIsToldOnce) {
  testing::FakeModel model;
  testing::FakeClock clock;
  CacheWatcher watcher;
  CollectedMap out;
  EngineOptions options;
  options.budget = {64, 8, 0};
  options.num_kv_blocks = 24;
  options.kv_block_tokens = 4;
  options.eos_token_ids = {kEos};
  ASSERT_TRUE(model.Allocate(24, 4, 64, 8).ok());
  EngineCore core(&model, &clock, options, &watcher);
  core.OpenSession(1, std::make_unique<CollectingSink>(&out));
  for (int32_t id = 1; id <= 12; ++id) {
    std::vector<int32_t> prompt(static_cast<size_t>(10 + id), 3 + id % 5);
    core.Submit(1, MakeRequest(static_cast<uint64_t>(id), std::move(prompt), 12));
  }
  for (int step = 0; step < 1'000 && core.has_work(); ++step) {
    core.Step();
    EXPECT_TRUE(core.CheckInvariants().ok());
  }
  EXPECT_FALSE(core.has_work());
  EXPECT_GT(watcher.num_removed, 0);
  EXPECT_EQ(static_cast<int32_t>(watcher.known.size()), core.load().kv_cached_blocks);
}

TEST(EngineCore, GivingBackTellsEverySequence) {
  TestCore test;
  test.Submit(MakeRequest(1, kPrompt, 0));
  Request beams = MakeRequest(2, kPrompt, 0);
  beams.sampling.beam.num_beams = 3;
  beams.sampling.n = 2;
  test.Submit(beams);
  test.Step();
  test.core->GiveBackAll();
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kPreempted);
  EXPECT_EQ(test.Get(2, 0).finish->reason, FinishReason::kPreempted);
  EXPECT_EQ(test.Get(2, 1).finish->reason, FinishReason::kPreempted);
}

TEST(EngineCore, LogitsThatAreNotFiniteEndOneSequenceAlone) {
  CoreSetup setup;
  setup.model.nan_token = 60;
  TestCore test(setup);
  test.Submit(MakeRequest(1, kPrompt, 6));
  test.Submit(MakeRequest(2, {5, 60, 7}, 6));
  test.RunAll();
  EXPECT_EQ(test.Get(1).tokens, Greedy(test.model, kPrompt, 6));
  ASSERT_EQ(test.Get(2).finish->reason, FinishReason::kError);
  EXPECT_NE(test.Get(2).finish->status.ToString().find("not finite"), std::string::npos);
}

TEST(EngineCore, AFailedStepEndsItsSequencesAndTheNextOnesRun) {
  TestCore test;
  test.Submit(MakeRequest(1, kPrompt, 6));
  test.model.FailForward(1, "the device is lost");
  test.Step();
  EXPECT_EQ(test.core->consecutive_failures(), 1);
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kError);
  EXPECT_NE(test.Get(1).finish->status.ToString().find("the device is lost"), std::string::npos);
  test.Submit(MakeRequest(2, kPrompt, 6));
  test.RunAll();
  EXPECT_EQ(test.Get(2).tokens, Greedy(test.model, kPrompt, 6));
  EXPECT_EQ(test.core->consecutive_failures(), 0);
}

TEST(EngineCore, ALostDeviceGivesAllSequencesBack) {
  CoreSetup setup;
  setup.max_sequences = 2;
  TestCore test(setup);
  for (uint64_t id = 1; id <= 3; ++id) test.Submit(MakeRequest(id, kPrompt, 6));
  Request both = MakeRequest(4, kPrompt, 6);
  both.sampling.beam.num_beams = both.sampling.n = 2;
  test.Submit(both);
  test.Step();
  test.Step();
  const std::vector<int32_t> before = test.Get(1).tokens;
  test.model.LoseDevice("CUDA error at a kernel");
  test.Step();
  EXPECT_TRUE(absl::IsDataLoss(test.core->device()));
  // Running ones and those that had waited, and what comes later, without asking the model again.
  const int64_t forwards = test.model.num_forwards();
  test.Submit(MakeRequest(5, kPrompt, 6));
  test.RunAll();
  EXPECT_EQ(test.model.num_forwards(), forwards);
  EXPECT_EQ(test.Get(1).tokens, before) << "no token is lost or made up";
  EXPECT_FALSE(before.empty());
  ASSERT_EQ(test.out.size(), 6u);
  for (const auto& [key, collected] : test.out) {
    ASSERT_TRUE(collected.finish) << key.first;
    EXPECT_EQ(collected.finish->reason, FinishReason::kPreempted) << key.first;
    EXPECT_EQ(collected.finish->status.message(), "CUDA error at a kernel");
  }
}

TEST(EngineCore, AFullQueueRefusesAtOnce) {
  CoreSetup setup;
  setup.max_waiting = 2;
  TestCore test(setup);
  for (uint64_t id = 1; id <= 3; ++id) test.Submit(MakeRequest(id, kPrompt, 2));
  test.RunAll();
  EXPECT_EQ(test.Get(3).finish->reason, FinishReason::kRejected);
  EXPECT_EQ(test.Get(3).finish->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(test.Get(1).finish->reason, FinishReason::kRejected);
}

TEST(EngineCore, BeamsShareTheirPromptsBlocks) {
  TestCore test;
  Request request = MakeRequest(1, std::vector<int32_t>(42, 9), 6);
  request.sampling.beam.num_beams = 4;
  test.Submit(request);
  test.Step();
  EXPECT_EQ(test.core->load().kv_leased_blocks, 11) << "the prompt's, all of them shared";
  EXPECT_EQ(test.model.num_copies(), 0);
  test.Step();
  // The 10 full ones go on being shared, and three beams have copied the last one. Those whose
  // children are no beams have given theirs back.
  EXPECT_LE(test.core->load().kv_leased_blocks, 10 + 4);
  EXPECT_GT(test.core->load().kv_leased_blocks, 10);
  EXPECT_EQ(test.model.num_copies(), 3);
  test.RunAll();
}

TEST(EngineCore, BeamsEqualASearchWithoutCache) {
  for (const auto early : {EarlyStopping::kFalse, EarlyStopping::kTrue, EarlyStopping::kNever}) {
    TestCore test;
    Request request = MakeRequest(1, kPrompt, 9);
    request.sampling.beam = {4, 0.8f, early};
    request.sampling.n = 2;
    test.Submit(request);
    test.RunAll();

    BeamSearch search({4, 0.8f, early}, 1, 9);
    std::vector<std::vector<int32_t>> outputs = {{}};
    while (true) {
      std::vector<BeamCandidates> candidates;
      for (const auto& output : outputs) {
        std::vector<int32_t> context = kPrompt;
        context.insert(context.end(), output.begin(), output.end());
        SamplingRow row;
        row.num_ranked = search.candidates_per_beam();
        row.temperature = 0.0f;
        BeamCandidates& beam = candidates.emplace_back();
        for (const RankedToken& token : test.model.Draw(test.model.LogitsOf(context), row).ranked) {
          beam.next.push_back(
              {token, token.token_id == kEos ? BeamEnd::kStopToken : BeamEnd::kNone});
        }
      }
      if (!search.Advance(candidates)) break;
      std::vector<std::vector<int32_t>> next;
      for (const auto& beam : search.beams()) {
        next.push_back(outputs[beam.parent]);
        next.back().push_back(beam.token);
      }
      outputs = next;
    }
    for (const int32_t answer : {0, 1}) {
      const FinishedBeam& beam = search.finished()[static_cast<size_t>(answer)];
      std::vector<int32_t> tokens;
      for (const BeamToken& token : search.Output(beam)) tokens.push_back(token.token_id);
      EXPECT_EQ(test.Get(1, answer).tokens, tokens);
      EXPECT_FLOAT_EQ(test.Get(1, answer).finish->cumulative_logprob, beam.cumulative_logprob);
    }
  }
}

TEST(EngineCore, BeamsSayThatTheirPromptIsComputedAndThenNothingBeforeTheEnd) {
  TestCore test;
  Request request = MakeRequest(1, kPrompt, 9);
  request.sampling.beam = {4, 1.0f};
  request.sampling.n = 2;
  request.stop.ignore_eos = true;
  test.Submit(request);
  for (int step = 0; step < 8; ++step) {
    test.Step();
    EXPECT_EQ(test.Get(1, 0).num_outputs, 1);
    EXPECT_TRUE(test.Get(1, 0).tokens.empty());
    EXPECT_FALSE(test.Get(1, 0).finish.has_value());
    EXPECT_EQ(test.Get(1, 1).num_outputs, 0);
  }
  test.RunAll();
  for (const int32_t answer : {0, 1}) {
    EXPECT_EQ(test.Get(1, answer).tokens.size(), 9u);
    EXPECT_EQ(test.Get(1, answer).finish->reason, FinishReason::kMaxTokens);
  }
}

TEST(EngineCore, WaitingBeamsCountAsTheSequencesThatTheyWillBe) {
  CoreSetup setup;
  setup.max_sequences = 4;
  TestCore test(setup);
  test.Submit(MakeRequest(1, kPrompt, 40));
  test.Step();
  for (const uint64_t id : {2u, 3u}) {
    Request request = MakeRequest(id, kPrompt, 9);
    request.sampling.beam = {3, 1.0f};
    test.Submit(request);
  }
  EXPECT_EQ(test.core->load().waiting_sequences, 6);
  test.Step();
  // The first group has the three places that are free.
  EXPECT_EQ(test.core->load().running_sequences, 4);
  EXPECT_EQ(test.core->load().waiting_sequences, 3);
  test.RunAll();
}

// Beams wait for each other: those that have their candidates must not keep the others out.
TEST(EngineCore, GroupsOfBeamsThatDoNotFitTogetherAllEnd) {
  for (const int32_t num_blocks : {12, 14, 20, 256}) {
    CoreSetup setup;
    setup.max_sequences = 4;
    TestCore alone(setup);
    setup.num_blocks = num_blocks;
    TestCore test(setup);
    for (uint64_t id = 1; id <= 5; ++id) {
      Request request =
          MakeRequest(id, std::vector<int32_t>(3 + 2 * id, static_cast<int32_t>(id)), 20);
      if (id != 3) {
        request.sampling.beam = {3, 1.0f};
        request.sampling.n = 3;
      }
      test.Submit(request);
      alone.Submit(request);
      alone.RunAll();
    }
    test.RunAll(3000);
    for (const auto& [key, answer] : alone.out) {
      EXPECT_EQ(test.out[key].tokens, answer.tokens)
          << num_blocks << " blocks, request " << key.first << ", answer " << key.second;
    }
  }
}

// Field by field: what is wrong, in the proto's words.
TEST(EngineCore, BadRequestsAreRejectedByFieldName) {
  struct Case {
    const char* field;
    std::function<void(Request*)> spoil;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {"prompt_token_ids is empty", [](Request* r) { r->prompt_token_ids.clear(); }},
      {"prompt_token_ids[1]", [](Request* r) { r->prompt_token_ids[1] = 64; }},
      {"generated_token_ids[0]", [](Request* r) { r->generated_token_ids = {-1}; }},
      {"prompt_token_ids", [](Request* r) { r->prompt_token_ids.assign(1024, 3); }},
      {"sampling.temperature", [](Request* r) { r->sampling.temperature = -1; }},
      {"sampling.temperature", [=](Request* r) { r->sampling.temperature = nan; }},
      {"sampling.top_p", [](Request* r) { r->sampling.top_p = 1.5f; }},
      {"sampling.top_p", [=](Request* r) { r->sampling.top_p = nan; }},
      {"sampling.top_k", [](Request* r) { r->sampling.top_k = -3; }},
      {"sampling.min_p", [](Request* r) { r->sampling.min_p = 2; }},
      {"sampling.presence_penalty", [](Request* r) { r->sampling.presence_penalty = 3; }},
      {"sampling.frequency_penalty", [](Request* r) { r->sampling.frequency_penalty = -3; }},
      {"sampling.repetition_penalty", [](Request* r) { r->sampling.repetition_penalty = -1; }},
      {"sampling.logit_bias[0].token_id",
       [](Request* r) {
         r->sampling.logit_bias = {{99, 0}};
       }},
      {"sampling.logit_bias[0].bias",
       [=](Request* r) {
         r->sampling.logit_bias = {{9, nan}};
       }},
      {"sampling.allowed_token_ids[0]", [](Request* r) { r->sampling.allowed_token_ids = {64}; }},
      {"sampling.allowed_token_ids' size",
       [](Request* r) { r->sampling.allowed_token_ids.assign(65, 3); }},
      {"sampling.logit_bias' size",
       [](Request* r) {
         r->sampling.logit_bias.assign(1'025, {9, 0});
       }},
      {"stop.stop_token_ids' size", [](Request* r) { r->stop.stop_token_ids.assign(1'089, 3); }},
      {"prompt_token_ids and generated_token_ids have",
       [](Request* r) { r->generated_token_ids.assign(1'024, 64); }},
      {"sampling.n", [](Request* r) { r->sampling.n = 2; }},
      {"sampling.beam.num_beams", [](Request* r) { r->sampling.beam.num_beams = 9; }},
      {"17 stop tokens they have 72 candidates each, of at most 64",
       [](Request* r) {
         r->sampling.beam.num_beams = 4;
         for (int32_t id = 10; id < 26; ++id) r->stop.stop_token_ids.push_back(id);
       }},
      {"sampling.temperature",
       [](Request* r) {
         r->sampling.beam.num_beams = 2;
         r->sampling.temperature = 1;
       }},
      {"generated_token_ids",
       [](Request* r) {
         r->generated_token_ids = {4};
         r->sampling.beam.num_beams = 2;
       }},
      {"stop.min_tokens", [](Request* r) { r->stop.min_tokens = 9; }},
      {"stop.stop_token_ids[0]", [](Request* r) { r->stop.stop_token_ids = {64}; }},
      {"logprobs.top_logprobs",
       [](Request* r) {
         r->logprobs = {true, 21, false};
       }},
      {"cache_salt", [](Request* r) { r->cache_salt.assign(65, 'x'); }},
  };
  TestCore test;
  uint64_t id = 0;
  for (const Case& c : cases) {
    Request request = MakeRequest(++id, kPrompt, 4);
    c.spoil(&request);
    test.Submit(request);
    test.RunAll();
    ASSERT_TRUE(test.Get(id).finish.has_value()) << c.field;
    EXPECT_EQ(test.Get(id).finish->reason, FinishReason::kRejected) << c.field;
    const std::string message = test.Get(id).finish->status.ToString();
    EXPECT_NE(message.find(c.field), std::string::npos) << message;
    EXPECT_NE(message.find("expected"), std::string::npos) << message;
  }
}

TEST(EngineCore, AnIdThatComesTwiceEndsBothInOneAnswer) {
  TestCore test;
  test.Submit(MakeRequest(1, kPrompt, 4));
  test.Step();
  test.Submit(MakeRequest(1, kPrompt, 4));
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kError);
  EXPECT_EQ(test.Get(1).finish->status.code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace pingti::worker
