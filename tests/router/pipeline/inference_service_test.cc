// Requests on their way in: which model a name means, what waits for a worker, and for how long.
#include "router/pipeline/inference_service.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kModelWait{1000};

// Both workers are away; their model is configured, and may be waited for.
class WaitingForWorkers : public ::testing::Test {
 protected:
  WaitingForWorkers() {
    steered_.service().model_names().Replace({.models = {"m"}});
    steered_.Lose("a");
    steered_.Lose("b");
  }

  std::shared_ptr<KeepingSink> Start(size_t body_bytes = 1, const std::string& model = "m") {
    GenerationRequest request = SteeredGenerations::Completion({"p"});
    request.body_bytes = body_bytes;
    request.model = model;
    return steered_.Start(std::move(request));
  }
  static absl::StatusCode ErrorOf(const KeepingSink& sink) {
    return sink.error.has_value() ? sink.error->code() : absl::StatusCode::kOk;
  }

  SteeredGenerations steered_{{.model_wait = kModelWait}};
};

TEST_F(WaitingForWorkers, ARequestStartsOnceAWorkerIsThere) {
  const auto sink = Start();
  steered_.Pass(kModelWait - milliseconds(1));
  EXPECT_FALSE(sink->ended());
  EXPECT_EQ(steered_.service().num_running(), 0u);
  steered_.Connect("b");
  steered_.Pass(milliseconds(1));
  EXPECT_EQ(steered_.service().num_running(), 1u);
  ASSERT_EQ(steered_.worker("b").submitted.size(), 1u);
  steered_.Say("b", steered_.worker("b").submitted[0].sequence_id, "x",
               Finish{Finish::Reason::kMaxTokens, 0, {}});
  EXPECT_TRUE(sink->usage.has_value());
  EXPECT_EQ(steered_.service().num_running(), 0u);
}

TEST_F(WaitingForWorkers, EachIsToldSoWhenItsTimeIsOver) {
  const auto first = Start();
  steered_.Pass(milliseconds(1));
  const auto second = Start();
  steered_.Pass(kModelWait - milliseconds(2));
  EXPECT_FALSE(first->ended());
  steered_.Pass(milliseconds(1));
  EXPECT_EQ(ErrorOf(*first), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(second->ended());
  steered_.Pass(milliseconds(1));
  EXPECT_EQ(ErrorOf(*second), absl::StatusCode::kUnavailable);
  // Neither is begun by a worker that comes too late.
  steered_.Connect("a");
  steered_.Pass(milliseconds(1));
  EXPECT_TRUE(steered_.worker("a").submitted.empty());
}

TEST_F(WaitingForWorkers, WhoseClientLeftIsNotBegun) {
  const auto sink = Start();
  steered_.ClientLeaves();
  steered_.Connect("a");
  steered_.Pass(milliseconds(1));
  EXPECT_EQ(ErrorOf(*sink), absl::StatusCode::kCancelled);
  EXPECT_TRUE(steered_.worker("a").submitted.empty());
}

TEST_F(WaitingForWorkers, OnlyAConfiguredModelIsWaitedFor) {
  EXPECT_FALSE(Start()->ended());
  EXPECT_EQ(ErrorOf(*Start(1, "other")), absl::StatusCode::kNotFound);
  steered_.service().model_names().Replace({});
  EXPECT_EQ(ErrorOf(*Start()), absl::StatusCode::kUnavailable);
}

TEST_F(WaitingForWorkers, AnAliasWaitsForItsModel) {
  steered_.service().model_names().Replace({.models = {"m"}, .aliases = {{"alias", "m"}}});
  const auto sink = Start(1, "alias");
  steered_.Connect("a");
  steered_.Pass(milliseconds(1));
  EXPECT_EQ(steered_.worker("a").submitted.size(), 1u);
  EXPECT_FALSE(sink->ended());
}

TEST_F(WaitingForWorkers, NoMoreThanSoManyBytesWait) {
  constexpr size_t kMost = size_t{64} << 20;
  const auto first = Start(kMost - 10);
  EXPECT_EQ(ErrorOf(*Start(11)), absl::StatusCode::kUnavailable);
  const auto second = Start(10);
  EXPECT_EQ(ErrorOf(*Start(1)), absl::StatusCode::kUnavailable);
  // They keep their place while they wait, and give it back when they do not.
  steered_.Pass(milliseconds(1));
  EXPECT_FALSE(first->ended() || second->ended());
  EXPECT_EQ(ErrorOf(*Start(1)), absl::StatusCode::kUnavailable);
  steered_.service().CancelAll(absl::UnavailableError("the router stops"));
  EXPECT_TRUE(first->ended() && second->ended());
  EXPECT_FALSE(Start(kMost)->ended());
  steered_.Pass(kModelWait);
  EXPECT_FALSE(Start(kMost)->ended());
}

TEST_F(WaitingForWorkers, NoMoreThanSoManyWait) {
  std::vector<std::shared_ptr<KeepingSink>> sinks;
  for (int i = 0; i < 4096; ++i) sinks.push_back(Start());
  EXPECT_EQ(ErrorOf(*Start()), absl::StatusCode::kUnavailable);
  steered_.service().CancelAll(absl::UnavailableError("the router stops"));
  for (const auto& sink : sinks) ASSERT_EQ(ErrorOf(*sink), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(Start()->ended());
}

TEST(InferenceService, WithoutAWaitARequestIsRefusedAtOnce) {
  SteeredGenerations steered;
  steered.service().model_names().Replace({.models = {"m"}});
  steered.Lose("a");
  EXPECT_FALSE(steered.Start(SteeredGenerations::Completion({"p"}))->ended()) << "b is there";
  steered.Lose("b");
  EXPECT_TRUE(steered.Start(SteeredGenerations::Completion({"p"}))->ended());
}

TEST(InferenceService, AModelIsUnknownUnlessItMayComeYet) {
  using Code = absl::StatusCode;
  for (const bool configured : {false, true}) {
    for (const bool any_worker : {false, true}) {
      SCOPED_TRACE(::testing::Message() << configured << any_worker);
      SteeredGenerations steered;
      if (configured) {
        steered.service().model_names().Replace({.models = {"n"}, .aliases = {{"alias", "n"}}});
      }
      if (!any_worker) steered.registry().SetAddresses({});
      const auto code = [&](std::string_view name) {
        return steered.service().FindModel(name).status().code();
      };
      EXPECT_EQ(code("m"), any_worker ? Code::kOk : Code::kUnavailable);
      const Code unserved = configured || !any_worker ? Code::kUnavailable : Code::kNotFound;
      EXPECT_EQ(code("n"), unserved);
      EXPECT_EQ(code("alias"), unserved);
      EXPECT_EQ(code("x"), any_worker ? Code::kNotFound : Code::kUnavailable);
      EXPECT_EQ(steered.service().AnswerName("m"), "m");
      EXPECT_EQ(steered.service().AnswerName("alias"), configured ? "n" : "alias");
      // To tokenize, the model need not be ready.
      GenerationRequest request = SteeredGenerations::Completion({"ab"});
      const auto prompt = steered.service().Tokenize(request, true);
      EXPECT_EQ(prompt.status().code(), code("m"));
      const auto text = steered.service().Detokenize("m", {'a', 'b'});
      EXPECT_EQ(text.status().code(), code("m"));
      if (!any_worker) continue;
      EXPECT_EQ(prompt->ids, (std::vector<uint32_t>{'a', 'b'}));
      EXPECT_EQ(prompt->max_context_tokens, 1000u);
      EXPECT_EQ(*text, "ab");
    }
  }
}

TEST(InferenceService, LongRequestsArePreparedOnThePool) {
  SteeredGenerations steered({.inline_bytes = 10, .long_bytes = 20});
  for (const size_t bytes : {0u, 10u, 11u, 20u, 21u}) {
    std::promise<std::thread::id> ran;
    ASSERT_TRUE(steered.service().RunPrepared(
        bytes, [&ran] { ran.set_value(std::this_thread::get_id()); }));
    EXPECT_EQ(ran.get_future().get() == std::this_thread::get_id(), bytes <= 10) << bytes;
  }
}

TEST(InferenceService, VeryLongRequestsDoNotWaitWithLongOnes) {
  SteeredGenerations steered({.inline_bytes = 10, .long_bytes = 20});
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(steered.service().RunPrepared(21, [released] { released.wait(); }));
  std::promise<void> ran;
  ASSERT_TRUE(steered.service().RunPrepared(20, [&ran] { ran.set_value(); }));
  ran.get_future().wait();
  release.set_value();
}

TEST(InferenceService, AdaptersAreChangedOnlyWhereTheSettingsSaySo) {
  for (const bool allowed : {false, true}) {
    SteeredGenerations steered({.adapter_changes = allowed});
    steered.registry().SetAddresses({});
    const absl::Status status =
        steered.service().Change({true, "sql", "/adapters/sql"}, "m", [](const auto&) {});
    EXPECT_EQ(status.code(),
              allowed ? absl::StatusCode::kUnavailable : absl::StatusCode::kPermissionDenied);
  }
}

TEST(InferenceService, AnAdapterIsOfAModelAndHasANameOfItsOwn) {
  using Code = absl::StatusCode;
  SteeredGenerations steered({.adapter_changes = true});
  steered.service().model_names().Replace({.models = {"away"}, .aliases = {{"alias", "m"}}});
  auto adapter = std::make_shared<ServedModel>(steered.model());
  adapter->id = adapter->adapter = "sql";
  adapter->fingerprint = "f+sql";
  adapter->parent = "m";
  for (const char* address : {"a", "b"}) {
    steered.registry().OnAdapters(steered.worker(address).link, {adapter});
  }
  ASSERT_TRUE(steered.service().FindModel("sql").ok());
  const auto change = [&](bool load, const std::string& name, std::string_view model) {
    bool asked = false;
    const absl::Status status = steered.service().Change({load, name, "/adapters/x"}, model,
                                                         [&](const auto&) { asked = true; });
    EXPECT_EQ(asked, status.ok()) << status;
    return status.code();
  };
  for (const bool load : {true, false}) {
    SCOPED_TRACE(load);
    for (const char* model : {"", "m", "alias"}) {
      EXPECT_EQ(change(load, "new", model), Code::kOk) << model;
      EXPECT_EQ(change(load, "sql", model), Code::kOk)
          << "perhaps another router's workers lack it";
      // Only a new adapter needs a new name.
      for (const char* taken : {"m", "alias", "away"}) {
        EXPECT_EQ(change(load, taken, model), load ? Code::kInvalidArgument : Code::kOk) << taken;
      }
    }
    EXPECT_EQ(change(load, "new", "sql"), Code::kInvalidArgument) << "an adapter itself";
    EXPECT_EQ(change(load, "new", "unknown"), Code::kNotFound);
    EXPECT_EQ(change(load, "new", "away"), Code::kUnavailable);
  }
}

TEST(InferenceService, CancelAllEndsWhatRuns) {
  SteeredGenerations steered;
  const auto first = steered.Start(SteeredGenerations::Completion({"p"}));
  const auto second = steered.Start(SteeredGenerations::Completion({"p"}));
  EXPECT_EQ(steered.service().num_running(), 2u);
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "x",
              Finish{Finish::Reason::kMaxTokens, 0, {}});
  EXPECT_EQ(steered.service().num_running(), 1u);
  steered.service().CancelAll(absl::UnavailableError("the router stops"));
  EXPECT_EQ(steered.service().num_running(), 0u);
  EXPECT_TRUE(first->usage.has_value());
  ASSERT_TRUE(second->error.has_value());
  EXPECT_EQ(second->error->message(), "the router stops");
  EXPECT_EQ(steered.worker("b").cancelled.size(), 1u);
}

}  // namespace
}  // namespace pingti::router
