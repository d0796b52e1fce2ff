// Requests with grammars: what comes out matches, and is the same whatever else runs, whoever was
// preempted, and wherever it was resumed.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/common/grammar/test_vocabulary.h"
#include "tests/testing/wait_for.h"
#include "tests/worker/engine/engine_testing.h"
#include "tests/worker/engine/fake_drafts.h"
#include "worker/engine/engine.h"

namespace pingti::worker {
namespace {

using grammar::GrammarSource;

constexpr int32_t kVocab = 64;

// Token 2 ends a text; 3 and up are characters and a few words of JSON.
const std::vector<std::string>& TokenTexts() {
  static const auto* texts = [] {
    auto* made = new std::vector<std::string>{"", "", ""};
    for (const char c : std::string("{}[]\",:- .0123456789abcdefghijklmnopqrstuvwxyz")) {
      made->emplace_back(1, c);
    }
    for (const char* word : {"true", "false", "null", "\":", "{\"", "ab", "12"}) {
      made->emplace_back(word);
    }
    return made;
  }();
  return *texts;
}

std::shared_ptr<const grammar::Vocabulary> TestVocabulary() {
  return std::make_shared<const grammar::Vocabulary>(TokenTexts(), std::vector<int32_t>{kEos},
                                                     kVocab);
}

std::shared_ptr<grammar::CompiledGrammar> Compile(const GrammarSource& source) {
  auto automaton = grammar::CompileGrammar(source, {});
  EXPECT_TRUE(automaton.ok()) << automaton.status();
  return std::make_shared<grammar::CompiledGrammar>(*std::move(automaton), TestVocabulary());
}

CoreSetup GrammarSetup() {
  CoreSetup setup;
  setup.vocabulary = TestVocabulary();
  return setup;
}

// Whether `tokens` are a whole text of the grammar, the end token included.
bool IsWhole(const GrammarSource& source, std::span<const int32_t> tokens) {
  GrammarState state(Compile(source));
  size_t next = 0;
  return state.Replay(tokens, grammar::kMaskWork, &next).ok() && next == tokens.size() &&
         state.ended();
}

const GrammarSource kSources[] = {
    {GrammarSource::Kind::kRegex, "[a-f]{3}-[0-9]{2,5}"},
    {GrammarSource::Kind::kEbnf, "root ::= \"ab\" (\"c\" | \"d\")+ \".\""},
    {GrammarSource::Kind::kJsonSchema,
     R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"enum":["x","yz"]}},
         "required":["a","b"],"additionalProperties":false})"},
    {GrammarSource::Kind::kToolCalls,
     R"({"begin":"","separator":" ","end":"","many":true,"calls":[
         {"begin":"f:","schema":{"type":"boolean"},"end":"."},
         {"begin":"g:","schema":{"enum":[12,13]},"end":"."}]})"},
};

// Every second request is constrained.
Request Mixed(uint64_t id) {
  Request request = MakeRequest(id, {3, 4, static_cast<int32_t>(5 + id), 9}, 40);
  for (uint64_t i = 0; i < id % 5; ++i) request.prompt_token_ids.push_back(11);
  request.sampling.temperature = id % 3 == 0 ? 0.0f : 1.3f;
  request.sampling.seed = id * 77;
  if (id % 4 == 0) request.sampling.presence_penalty = 0.5f;
  if (id % 2 == 1) request.grammar = kSources[id / 2 % std::size(kSources)];
  return request;
}
constexpr uint64_t kNumMixed = 24;

void SubmitTo(CoreDriver* driver, Request request) {
  const uint64_t id = request.sequence_id;
  const std::optional<GrammarSource> source = request.grammar;
  ASSERT_EQ(driver->core->Submit(1, std::move(request)), source.has_value());
  if (source) driver->core->SetGrammar(1, id, Compile(*source));
}

std::vector<int32_t> RunAlone(Request request) {
  TestCore test(GrammarSetup());
  const uint64_t id = request.sequence_id;
  SubmitTo(&test, std::move(request));
  test.RunAll();
  EXPECT_TRUE(test.Get(id).finish.has_value());
  return test.Get(id).tokens;
}

TEST(Constrained, WhatEndsMatchesItsGrammar) {
  int whole = 0;
  for (uint64_t id = 1; id < kNumMixed; id += 2) {
    TestCore test(GrammarSetup());
    SubmitTo(&test, Mixed(id));
    test.RunAll();
    const Collected& got = test.Get(id);
    ASSERT_TRUE(got.finish.has_value());
    ASSERT_TRUE(got.finish->status.ok()) << got.finish->status;
    if (got.finish->reason != FinishReason::kStopToken) continue;
    EXPECT_TRUE(IsWhole(*Mixed(id).grammar, got.tokens)) << id;
    ++whole;
  }
  EXPECT_GT(whole, 6);
}

TEST(Constrained, DraftsNeverChangeAnAnswer) {
  CollectedMap expected;
  for (uint64_t id = 0; id < kNumMixed; ++id) expected[{id, 0}].tokens = RunAlone(Mixed(id));
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    FakeDrafts drafts(&expected, {.wrong_in = 1 + static_cast<int32_t>(seed % 4), .seed = seed});
    CoreSetup setup = GrammarSetup();
    setup.max_rows = 30;
    setup.num_blocks = 60;
    setup.drafts = &drafts;
    TestCore test(setup);
    for (uint64_t id = 0; id < kNumMixed; ++id) SubmitTo(&test, Mixed(id));
    test.RunAll();
    EXPECT_GT(drafts.num_proposed(), 100);
    for (uint64_t id = 0; id < kNumMixed; ++id) {
      EXPECT_EQ(test.Get(id).tokens, (expected[{id, 0}].tokens)) << id;
    }
  }
}

TEST(Constrained, BatchedEqualsAloneUnderPreemption) {
  CoreSetup setup = GrammarSetup();
  setup.num_blocks = 40;
  setup.max_tokens = 9;
  TestCore test(setup);
  for (uint64_t id = 0; id < kNumMixed; ++id) SubmitTo(&test, Mixed(id));
  for (int step = 0; test.core->has_work() && step < 5000; ++step) {
    test.Step();
    if (step % 7 == 3 && test.core->load().running_sequences > 0) {
      test.core->PreemptForTest(static_cast<size_t>(step) %
                                static_cast<size_t>(test.core->load().running_sequences));
    }
  }
  test.RunAll();
  for (uint64_t id = 0; id < kNumMixed; ++id) {
    ASSERT_TRUE(test.Get(id).finish.has_value()) << id;
    EXPECT_EQ(test.Get(id).tokens, RunAlone(Mixed(id))) << id;
  }
}

// So little that most masks wait, and replays take many steps.
constexpr MaskLimits kTight{.most = 200, .per_step = 20, .small = 10};

TEST(Constrained, WaitingForMasksNeverChangesAnAnswer) {
  CollectedMap expected;
  for (uint64_t id = 0; id < kNumMixed; ++id) expected[{id, 0}].tokens = RunAlone(Mixed(id));
  for (const bool with_drafts : {false, true}) {
    FakeDrafts drafts(&expected, {.wrong_in = 3, .seed = 5});
    CoreSetup setup = GrammarSetup();
    setup.mask_limits = kTight;
    setup.num_blocks = 60;
    if (with_drafts) {
      setup.max_rows = 30;
      setup.drafts = &drafts;
    }
    TestCore test(setup);
    for (uint64_t id = 0; id < kNumMixed; ++id) {
      Request request = Mixed(id);
      const auto& whole = expected[{id, 0}].tokens;
      // Some are resumed in the middle.
      const size_t done = id % 3 == 0 ? whole.size() / 2 : 0;
      request.generated_token_ids.assign(whole.begin(),
                                         whole.begin() + static_cast<ptrdiff_t>(done));
      SubmitTo(&test, std::move(request));
    }
    test.RunAll();
    for (uint64_t id = 0; id < kNumMixed; ++id) {
      const auto& whole = expected[{id, 0}].tokens;
      const auto& got = test.Get(id).tokens;
      ASSERT_LE(got.size(), whole.size()) << id;
      EXPECT_TRUE(std::equal(got.rbegin(), got.rend(), whole.rbegin())) << id;
      EXPECT_EQ(got.size(), whole.size() - (id % 3 == 0 ? whole.size() / 2 : 0)) << id;
    }
  }
}

TEST(Constrained, CostlyMasksTakeTurnsAndHoldNobodyUp) {
  CoreSetup setup;
  setup.vocabulary = grammar::LargeVocabulary();
  setup.model.vocab_size = 100'257;  // its tokens
  setup.max_sequences = 16;
  TestCore test(setup);
  // Each has a grammar of its own, whose every mask is new.
  constexpr uint64_t kNumCostly = 12;
  std::vector<std::shared_ptr<grammar::CompiledGrammar>> grammars;
  for (uint64_t id = 1; id <= kNumCostly; ++id) {
    Request request = MakeRequest(id, {3, 4, 5}, 50);
    request.stop.ignore_eos = true;
    request.grammar = {GrammarSource::Kind::kRegex, "(.{1,500}){1,500}"};
    grammars.push_back(*grammar::CompileForTest(request.grammar->kind, request.grammar->text, {},
                                                setup.vocabulary));
    ASSERT_TRUE(test.core->Submit(1, std::move(request)));
    test.core->SetGrammar(1, id, grammars.back());
  }
  Request free = MakeRequest(100, {3, 4, 6}, 60);
  free.stop.ignore_eos = true;
  test.Submit(std::move(free));
  const auto work = [&] {
    int64_t sum = 0;
    for (const auto& one : grammars) sum += one->work();
    return sum;
  };
  const int64_t begin = work();
  int64_t most_of_a_step = 0;
  for (int step = 0; step < 60; ++step) {
    const int64_t before = work();
    test.Step();
    most_of_a_step = std::max(most_of_a_step, work() - before);
    EXPECT_EQ(test.Get(100).tokens.size(), static_cast<size_t>(step + 1));
  }
  const MaskLimits limits;
  const int64_t small_ones = static_cast<int64_t>(kNumCostly) * 2 * limits.small;
  EXPECT_GT(most_of_a_step, limits.per_step) << "the masks are costly";
  EXPECT_LE(most_of_a_step, 2 * limits.most + small_ones);
  EXPECT_LE(work() - begin, 60 * limits.per_step + 2 * limits.most + small_ones * 60);
  // Nobody waits for ever: each has got on, or was told that its grammar is too expensive.
  for (uint64_t id = 1; id <= kNumCostly; ++id) {
    const Collected& got = test.Get(id);
    EXPECT_TRUE(!got.tokens.empty() || got.finish.has_value()) << id;
  }
}

TEST(Constrained, GoesOnElsewhereAsItWouldHave) {
  for (const uint64_t id : {1u, 5u, 7u, 13u}) {
    const std::vector<int32_t> whole = RunAlone(Mixed(id));
    for (size_t done = 1; done <= whole.size(); ++done) {
      Request request = Mixed(id);
      request.generated_token_ids.assign(whole.begin(),
                                         whole.begin() + static_cast<ptrdiff_t>(done));
      const std::vector<int32_t> rest = RunAlone(std::move(request));
      EXPECT_EQ(rest,
                std::vector<int32_t>(whole.begin() + static_cast<ptrdiff_t>(done), whole.end()))
          << id << " after " << done;
    }
  }
}

TEST(Constrained, EachSampleOfAPromptFollowsTheGrammarOnItsOwn) {
  const GrammarSource source = *Mixed(1).grammar;
  TestCore test(GrammarSetup());
  for (uint64_t id = 1; id <= 6; ++id) {
    Request request = Mixed(1);
    request.sequence_id = id;
    request.sampling.temperature = 1.5f;
    request.sampling.seed = id;
    SubmitTo(&test, std::move(request));
  }
  test.RunAll();
  std::set<std::vector<int32_t>> distinct;
  for (uint64_t id = 1; id <= 6; ++id) {
    EXPECT_TRUE(IsWhole(source, test.Get(id).tokens)) << id;
    distinct.insert(test.Get(id).tokens);
  }
  EXPECT_GT(distinct.size(), 3u);
}

TEST(Constrained, AnEndedTextEndsBeforeItsMinTokens) {
  for (uint64_t seed = 0; seed < 16; ++seed) {
    Request request = MakeRequest(1, {3, 4}, 30);
    request.grammar = GrammarSource{GrammarSource::Kind::kRegex, "a(bc)?"};
    request.sampling.temperature = 1.0f;
    request.sampling.seed = seed;
    request.stop.min_tokens = 20;
    TestCore test(GrammarSetup());
    SubmitTo(&test, std::move(request));
    test.RunAll();
    EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kStopToken);
    // The longer of the two texts: the end was put off as long as something else was allowed.
    std::string text;
    for (const int32_t token : test.Get(1).tokens) text += TokenTexts()[token];
    EXPECT_EQ(text, "abc") << "seed " << seed;
  }
}

TEST(Constrained, AllowedTokensThatTheGrammarNeverAllowsFailAlone) {
  Request request = Mixed(1);
  request.sampling.allowed_token_ids = {3};  // '{'
  TestCore test(GrammarSetup());
  SubmitTo(&test, std::move(request));
  SubmitTo(&test, Mixed(3));
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kError);
  EXPECT_NE(test.Get(1).finish->status.message().find("allowed_token_ids"), std::string::npos);
  EXPECT_EQ(test.Get(3).tokens, RunAlone(Mixed(3)));
}

TEST(Constrained, TokensThatDoNotFitTheGrammarAreNotResumed) {
  Request request = Mixed(1);
  request.generated_token_ids = {3};
  TestCore test(GrammarSetup());
  SubmitTo(&test, std::move(request));
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kRejected);
  EXPECT_EQ(test.Get(1).finish->status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(test.Get(1).finish->status.message().find("generated_token_ids[0]"), std::string::npos);
}

TEST(Constrained, WaitsForItsGrammarAndHoldsNobodyUp) {
  TestCore test(GrammarSetup());
  ASSERT_TRUE(test.core->Submit(1, Mixed(1)));
  EXPECT_FALSE(test.core->has_work());
  test.Submit(Mixed(2));
  test.RunAll();
  EXPECT_TRUE(test.Get(2).finish.has_value());
  EXPECT_FALSE(test.Get(1).finish.has_value());
  test.core->SetGrammar(1, 1, Compile(*Mixed(1).grammar));
  test.RunAll();
  EXPECT_EQ(test.Get(1).tokens, RunAlone(Mixed(1)));
}

TEST(Constrained, CancelledAndGivenBackWhileCompilingNeverStart) {
  TestCore test(GrammarSetup());
  ASSERT_TRUE(test.core->Submit(1, Mixed(1)));
  ASSERT_TRUE(test.core->Submit(1, Mixed(3)));
  const uint64_t first = 1;
  test.core->Cancel(1, {&first, 1});
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kCancelled);
  test.core->GiveBackAll();
  test.RunAll();
  EXPECT_EQ(test.Get(3).finish->reason, FinishReason::kPreempted);
  test.core->SetGrammar(1, 1, Compile(*Mixed(1).grammar));
  test.core->SetGrammar(1, 3, absl::InvalidArgumentError("late"));
  test.RunAll();
  EXPECT_TRUE(test.Get(1).tokens.empty());
  EXPECT_TRUE(test.Get(3).tokens.empty());
}

// Costly masks are put off beam by beam, and beams wait for each other.
TEST(Constrained, BeamsEachFollowTheGrammarAndMasksThatArePutOffChangeNothing) {
  CollectedMap expected;
  for (const bool scarce : {false, true}) {
    CoreSetup setup = GrammarSetup();
    if (scarce) setup.mask_limits = {.most = grammar::kMaskWork, .per_step = 1, .small = 0};
    if (scarce) setup.num_blocks = 40;
    TestCore test(setup);
    for (uint64_t id = 1; id < kNumMixed; id += 2) {
      Request request = Mixed(id);
      request.sampling = SamplingParameters();
      request.sampling.beam.num_beams = 3;
      request.sampling.n = 2;
      request.sampling.repetition_penalty = id % 4 == 1 ? 1.2f : 1.0f;
      SubmitTo(&test, std::move(request));
    }
    test.RunAll();
    int whole = 0;
    for (const auto& [key, answer] : test.out) {
      ASSERT_TRUE(answer.finish->status.ok()) << answer.finish->status;
      if (answer.finish->reason != FinishReason::kStopToken) continue;
      EXPECT_TRUE(IsWhole(*Mixed(key.first).grammar, answer.tokens)) << key.first;
      ++whole;
    }
    EXPECT_GT(whole, 12);
    if (!scarce) expected = test.out;
    for (const auto& [key, answer] : expected) EXPECT_EQ(test.out[key].tokens, answer.tokens);
  }
}

TEST(Constrained, WhereAFormAllowsFewerAnswersTheLastIsGivenAgain) {
  Request request = MakeRequest(1, {3, 4}, 9);
  request.grammar = GrammarSource{GrammarSource::Kind::kRegex, "x|y"};
  request.sampling.beam.num_beams = 4;
  request.sampling.n = 3;
  TestCore test(GrammarSetup());
  SubmitTo(&test, std::move(request));
  test.RunAll();
  EXPECT_NE(test.Get(1, 0).tokens, test.Get(1, 1).tokens);
  EXPECT_EQ(test.Get(1, 2).tokens, test.Get(1, 1).tokens);
}

TEST(Constrained, ABeamThatTheGrammarFailsEndsItsSearchAlone) {
  Request request = Mixed(1);
  request.sampling = SamplingParameters();
  request.sampling.beam.num_beams = 3;
  request.sampling.allowed_token_ids = {3};  // '{'
  TestCore test(GrammarSetup());
  SubmitTo(&test, std::move(request));
  SubmitTo(&test, Mixed(3));
  test.RunAll();
  EXPECT_EQ(test.Get(1).finish->reason, FinishReason::kError);
  EXPECT_NE(test.Get(1).finish->status.message().find("allowed_token_ids"), std::string::npos);
  EXPECT_EQ(test.Get(3).tokens, RunAlone(Mixed(3)));
}

TEST(Constrained, IsRefusedByNameWithoutAVocabulary) {
  TestCore without;
  EXPECT_FALSE(without.core->Submit(1, Mixed(1)));
  without.RunAll();
  EXPECT_EQ(without.Get(1).finish->status.code(), absl::StatusCode::kUnimplemented);
}

// Over the real engine and its compiler's thread.
class WaitingSink : public SessionSink {
 public:
  struct Shared {
    Mutex mutex;
    CondVar changed;
    std::map<uint64_t, Finish> finished PINGTI_GUARDED_BY(mutex);
  };
  explicit WaitingSink(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    MutexLock lock(&shared_->mutex);
    for (const SequenceOutput& output : outputs) {
      if (output.finish) shared_->finished[output.sequence_id] = *output.finish;
    }
    shared_->changed.NotifyAll();
  }
  void OnAccepted(uint64_t) override {}

 private:
  const std::shared_ptr<Shared> shared_;
};

TEST(Constrained, AGrammarThatDoesNotCompileFailsAlone) {
  testing::FakeModel model({.vocab_size = kVocab});
  ASSERT_TRUE(model.Allocate(256, 4, 64, 8).ok());
  EngineOptions options;
  options.budget = {64, 8};
  options.num_kv_blocks = 256;
  options.kv_block_tokens = 4;
  options.eos_token_ids = {kEos};
  options.vocabulary = TestVocabulary();
  Engine engine(&model, RealClock(), options, nullptr);
  auto shared = std::make_shared<WaitingSink::Shared>();
  const SessionId session = engine.OpenSession(std::make_unique<WaitingSink>(shared));
  std::vector<Request> requests;
  for (uint64_t id = 0; id < kNumMixed; ++id) requests.push_back(Mixed(id));
  requests[5].grammar = GrammarSource{GrammarSource::Kind::kRegex, "a(b"};
  engine.Submit(session, std::move(requests));
  const auto deadline = std::chrono::steady_clock::now() + testing::kPatience;
  MutexLock lock(&shared->mutex);
  while (shared->finished.size() < kNumMixed) {
    ASSERT_TRUE(shared->changed.WaitUntil(&shared->mutex, deadline)) << shared->finished.size();
  }
  for (const auto& [id, finish] : shared->finished) {
    EXPECT_EQ(finish.reason == FinishReason::kRejected, id == 5) << id;
  }
  EXPECT_EQ(shared->finished[5].status.code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pingti::worker
