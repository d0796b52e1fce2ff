// Requests with adapters through the engine: which slot a sequence names, what is put there and
// when, and that no prefix is shared between adapters.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/engine/engine_testing.h"
#include "worker/adapters/adapter.h"

namespace pingti::worker {
namespace {

constexpr int32_t kSlots = 2;

// All that is left of an adapter when the engine gets it.
struct NamedImage : AdapterImage {
  explicit NamedImage(std::string of) : name(std::move(of)) {}
  const std::string name;
};

// Notes which adapter each sequence of a step had.
class AdapterModel : public pingti::testing::FakeModel {
 public:
  using FakeModel::FakeModel;

  int32_t num_adapter_slots() const override { return kSlots; }
  absl::StatusOr<std::shared_ptr<const AdapterImage>> PrepareAdapter(
      const Adapter& adapter) const override {
    ADD_FAILURE() << "the engine prepares '" << adapter.name << "'";
    return absl::InternalError("not here");
  }
  absl::Status SetAdapter(int32_t slot, const std::shared_ptr<const AdapterImage>& image) override {
    ++num_set;
    const auto& named = dynamic_cast<const NamedImage&>(*image);
    if (named.name == fails) return absl::ResourceExhaustedError("no memory for it");
    slots[slot] = named.name;
    return absl::OkStatus();
  }
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    steps.emplace_back();
    for (const int32_t slot : batch.adapter_slots) {
      steps.back().push_back(slot == kNoAdapterSlot ? "" : slots.at(slot));
    }
    return FakeModel::Forward(batch, copies);
  }

  std::map<int32_t, std::string> slots;
  std::vector<std::vector<std::string>> steps;  // empty: no sequence had one
  std::string fails;
  int num_set = 0;
};

AdapterPtr Named(const std::string& name) {
  auto adapter = std::make_shared<Adapter>();
  adapter->name = name;
  adapter->id = name;
  adapter->image = std::make_shared<NamedImage>(name);
  return adapter;
}

Request With(AdapterPtr adapter, uint64_t id, std::vector<int32_t> prompt, int32_t max_tokens) {
  Request request = MakeRequest(id, std::move(prompt), max_tokens);
  request.adapter = std::move(adapter);
  request.stop.ignore_eos = true;
  return request;
}

class EngineAdaptersTest : public ::testing::Test {
 protected:
  AdapterModel model_;
  CoreDriver test_{&model_, CoreSetup()};
};

TEST_F(EngineAdaptersTest, EverySequenceOfAStepHasItsOwnAdapter) {
  const AdapterPtr a = Named("a");
  const AdapterPtr b = Named("b");
  test_.Submit(With(a, 1, {5, 6, 7}, 3));
  test_.Submit(With(nullptr, 2, {5, 6, 7}, 3));
  test_.Submit(With(b, 3, {5, 6, 7}, 3));
  test_.Submit(With(a, 4, {8, 6, 7}, 3));
  test_.RunAll();
  for (const auto& step : model_.steps) {
    EXPECT_EQ(step, (std::vector<std::string>{"a", "", "b", "a"}));
  }
  EXPECT_EQ(model_.num_set, 2);
}

class SlotCounter final : public EngineObserver {
 public:
  void OnStepEnd(const StepStats& stats, const LoadSnapshot&) override {
    loads += stats.adapter_slot_loads;
    evictions += stats.adapter_evictions;
  }
  void OnCacheEvents(std::span<const CacheEvent>) override {}
  int64_t loads = 0;
  int64_t evictions = 0;
};

TEST(EngineAdapterSlots, AnAdapterThatTakesAnothersSlotEvictsIt) {
  AdapterModel model;
  testing::FakeClock clock;
  SlotCounter counter;
  CollectedMap out;
  EngineOptions options;
  options.budget = {64, 8, 0};
  options.num_kv_blocks = 64;
  options.kv_block_tokens = 4;
  ASSERT_TRUE(model.Allocate(64, 4, 64, 8).ok());
  EngineCore core(&model, &clock, options, &counter);
  core.OpenSession(1, std::make_unique<CollectingSink>(&out));
  const std::map<std::string, AdapterPtr> adapters = {
      {"a", Named("a")}, {"b", Named("b")}, {"c", Named("c")}};
  uint64_t id = 0;
  int64_t loads = 0;
  for (const std::string name : {"a", "b", "a", "c", "a", "b"}) {
    loads += name == "a" && id > 0 ? 0 : 1;
    core.Submit(1, With(adapters.at(name), ++id, {5, 6}, 2));
    for (int step = 0; step < 100 && core.has_work(); ++step) core.Step();
    EXPECT_EQ(counter.loads, loads) << id;
    EXPECT_EQ(counter.evictions, std::max<int64_t>(0, loads - kSlots)) << id;
  }
}

TEST_F(EngineAdaptersTest, AStepOfTheBaseModelNamesNoSlots) {
  test_.Submit(With(nullptr, 1, {5, 6, 7}, 3));
  test_.RunAll();
  for (const auto& step : model_.steps) EXPECT_TRUE(step.empty());
}

TEST_F(EngineAdaptersTest, TheAdapterThatWasUsedLongestAgoMakesRoom) {
  const AdapterPtr a = Named("a");
  const AdapterPtr b = Named("b");
  const AdapterPtr c = Named("c");
  uint64_t id = 0;
  for (const AdapterPtr& adapter : {a, b, a, c, a}) {
    test_.Submit(With(adapter, ++id, {5, 6}, 2));
    test_.RunAll();
  }
  EXPECT_EQ(model_.num_set, 3) << "a stayed, b made room for c";
  test_.Submit(With(b, ++id, {5, 6}, 2));
  test_.RunAll();
  EXPECT_EQ(model_.num_set, 4);
  EXPECT_EQ(model_.steps.back(), std::vector<std::string>{"b"});
}

TEST_F(EngineAdaptersTest, MoreAdaptersThanSlotsAllGetTheirTurns) {
  std::vector<AdapterPtr> adapters;
  for (int i = 0; i < 5; ++i) adapters.push_back(Named(std::to_string(i)));
  for (uint64_t id = 0; id < 20; ++id) {
    test_.Submit(With(adapters[id % 5], id + 1, {5, static_cast<int32_t>(id)}, 6));
  }
  test_.RunAll();
  for (uint64_t id = 0; id < 20; ++id) EXPECT_EQ(test_.Get(id + 1).tokens.size(), 6u);
}

TEST_F(EngineAdaptersTest, NoPrefixIsSharedBetweenAdapters) {
  const std::vector<int32_t> prompt = {5, 6, 7, 8, 9, 10, 11, 12, 13};
  const AdapterPtr a = Named("a");
  uint64_t id = 0;
  const auto cached = [&](AdapterPtr adapter) {
    test_.Submit(With(std::move(adapter), ++id, prompt, 1));
    test_.RunAll();
    return test_.Get(id).cached_prompt_tokens;
  };
  EXPECT_EQ(cached(a), 0);
  EXPECT_EQ(cached(a), 8);
  EXPECT_EQ(cached(Named("b")), 0);
  EXPECT_EQ(cached(nullptr), 0);
  EXPECT_EQ(cached(nullptr), 8);
}

TEST_F(EngineAdaptersTest, BeamsOfARequestShareItsAdapter) {
  Request request = With(Named("a"), 1, {5, 6, 7, 8, 9}, 4);
  request.sampling.n = 3;
  request.sampling.beam.num_beams = 3;
  test_.Submit(std::move(request));
  test_.RunAll();
  for (const auto& step : model_.steps) {
    for (const std::string& adapter : step) EXPECT_EQ(adapter, "a");
  }
  EXPECT_EQ(test_.Get(1, 2).tokens.size(), 4u);
}

TEST_F(EngineAdaptersTest, AnAdapterThatFindsNoMemoryFailsItsStepAlone) {
  model_.fails = "a";
  test_.Submit(With(Named("a"), 1, {5, 6, 7}, 3));
  test_.RunAll();
  EXPECT_EQ(test_.Get(1).finish->reason, FinishReason::kError);
  test_.Submit(With(nullptr, 2, {5, 6, 7}, 3));
  test_.Submit(With(Named("b"), 3, {5, 6, 7}, 3));
  test_.RunAll();
  EXPECT_EQ(test_.Get(2).tokens.size(), 3u);
  EXPECT_EQ(test_.Get(3).tokens.size(), 3u);
}

Request Awaiting(const std::string& adapter, uint64_t id) {
  Request request = With(nullptr, id, {5, 6, 7, 8, 9}, 3);
  request.adapter_id = adapter;
  return request;
}

TEST_F(EngineAdaptersTest, ARequestWaitsForItsAdapterAndHoldsNobodyUp) {
  test_.Submit(Awaiting("a", 1));
  EXPECT_FALSE(test_.core->has_work());
  test_.Submit(With(Named("b"), 2, {5, 6, 7}, 3));
  test_.RunAll();
  EXPECT_TRUE(test_.Get(2).finish.has_value());
  EXPECT_FALSE(test_.Get(1).finish.has_value());
  model_.steps.clear();
  test_.core->SetAdapter(1, 1, Named("a"));
  test_.RunAll();
  EXPECT_EQ(test_.Get(1).tokens.size(), 3u);
  for (const auto& step : model_.steps) EXPECT_EQ(step, std::vector<std::string>{"a"});
}

TEST_F(EngineAdaptersTest, PrefixesOfAnAdapterThatCameLateAreItsOwn) {
  test_.Submit(With(Named("a"), 1, {5, 6, 7, 8, 9}, 1));
  test_.Submit(With(nullptr, 2, {5, 6, 7, 8, 9}, 1));
  test_.RunAll();
  uint64_t id = 2;
  for (const std::string name : {"a", "b"}) {
    test_.Submit(Awaiting(name, ++id));
    test_.core->SetAdapter(1, id, Named(name));
    test_.RunAll();
    EXPECT_EQ(test_.Get(id).cached_prompt_tokens, name == "a" ? 4 : 0);
  }
}

TEST_F(EngineAdaptersTest, AnAdapterThatCannotBeHadRejectsItsRequestsAlone) {
  test_.Submit(Awaiting("a", 1));
  test_.Submit(With(nullptr, 2, {5, 6, 7}, 3));
  test_.core->SetAdapter(1, 1, absl::NotFoundError("its files are gone"));
  test_.RunAll();
  EXPECT_EQ(test_.Get(1).finish->reason, FinishReason::kRejected);
  EXPECT_EQ(test_.Get(1).finish->status.message(), "its files are gone");
  EXPECT_EQ(test_.Get(2).tokens.size(), 3u);
}

TEST_F(EngineAdaptersTest, CancelledAndGivenBackWhileTheirAdaptersComeNeverStart) {
  test_.Submit(Awaiting("a", 1));
  test_.Submit(Awaiting("a", 2));
  const uint64_t first = 1;
  test_.core->Cancel(1, {&first, 1});
  test_.RunAll();
  EXPECT_EQ(test_.Get(1).finish->reason, FinishReason::kCancelled);
  test_.core->GiveBackAll();
  test_.RunAll();
  EXPECT_EQ(test_.Get(2).finish->reason, FinishReason::kPreempted);
  test_.core->SetAdapter(1, 1, Named("a"));
  test_.core->SetAdapter(1, 2, absl::NotFoundError("late"));
  test_.RunAll();
  EXPECT_TRUE(model_.steps.empty());
}

}  // namespace
}  // namespace pingti::worker
