// The registry with scripted links: states, credit, load and books, without any network.
#include "router/registry/worker_registry.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/await.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

class FakeChannel final : public WorkerChannel {
 public:
  void Submit(std::vector<Sequence>) override {}
  void Cancel(uint64_t id) override { cancelled.push_back(id); }
  std::vector<uint64_t> cancelled;
};

class FakeHandler final : public SequenceHandler {
 public:
  void OnPlaced(const SequencePlace&) override {}
  void OnOutput(SequenceOutput output) override {
    ++outputs;
    last_id = output.sequence_id;
  }
  void OnLost(const absl::Status&) override { ++lost; }
  void OnQueueTimeout() override {}
  int outputs = 0;
  uint64_t last_id = 0;  // of the sequence that had an output
  int lost = 0;
};

class WorkerRegistryTest : public ::testing::Test {
 protected:
  WorkerRegistryTest() {
    registry_.Connect(
        [this](LinkId id, const std::string& address) {
          links_[address] = id;
          return channels_[address] = std::make_shared<FakeChannel>();
        },
        [this] { ++capacity_; });
  }

  void Ready(const std::string& address, const std::string& fingerprint = "f",
             uint32_t credit_sequences = 2, uint32_t credit_tokens = 100,
             uint32_t max_context_tokens = 0, const std::string& model_id = "m") {
    auto model = std::make_shared<ServedModel>();
    model->id = model_id;
    model->fingerprint = fingerprint;
    model->kv_block_tokens = 16;
    model->max_context_tokens = max_context_tokens;
    WorkerInfo info;
    info.model = model;
    info.credit_sequences = credit_sequences;
    info.credit_tokens = credit_tokens;
    info.kv_total_blocks = 100;
    registry_.OnReady(links_.at(address), info);
  }

  WorkerKey OnlyKey() {
    const std::vector<WorkerLoad> loads = registry_.Candidates("f", 0, {});
    return loads.size() == 1 ? loads[0].worker : 0;
  }

  void Output(const std::string& address, uint64_t id, Finish::Reason reason) {
    SequenceOutput output;
    output.sequence_id = id;
    output.token_ids = {1};
    if (reason != Finish::Reason::kUnspecified) output.finish = Finish{reason, 0, {}};
    registry_.OnStepOutput(links_.at(address), {{std::move(output)}});
  }

  testing::FakeClock clock_;
  std::map<std::string, LinkId> links_;
  std::map<std::string, std::shared_ptr<FakeChannel>> channels_;
  int capacity_ = 0;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  WorkerRegistry registry_{{.failures_to_open = 2}, &clock_, &metrics_};
};

// Stays in OnOutput until it is let go.
class SlowHandler final : public SequenceHandler {
 public:
  void OnPlaced(const SequencePlace&) override {}
  void OnOutput(SequenceOutput) override {
    inside.set_value();
    testing::AwaitOrDie(let_go.get_future(), "the test to let the event go");
    link = nullptr;
  }
  void OnLost(const absl::Status&) override {}
  void OnQueueTimeout() override {}
  std::promise<void> inside;
  std::promise<void> let_go;
  std::shared_ptr<WorkerChannel> link;  // as a link is held while it tells of an event
};

TEST_F(WorkerRegistryTest, NothingIsCalledOnceAllIsClosed) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const auto handler = std::make_shared<SlowHandler>();
  const uint64_t id = registry_.Book(OnlyKey(), 1, handler).place.sequence_id;
  std::thread event([&] { Output("a", id, Finish::Reason::kStopToken); });
  testing::AwaitOrDie(handler->inside.get_future(), "the event's call");
  const std::weak_ptr<FakeChannel> link = channels_.at("a");
  handler->link = link.lock();
  channels_.clear();
  std::future<int> closed = std::async(std::launch::async, [this] {
    registry_.CloseAll();
    return capacity_;
  });
  // Not a matter of time: it ends only once the event has.
  EXPECT_EQ(closed.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  handler->let_go.set_value();
  const int at_close = testing::AwaitOrDie(std::move(closed), "CloseAll to end");
  EXPECT_TRUE(link.expired()) << "the link that its own event held is closed, too";
  event.join();
  EXPECT_EQ(capacity_, at_close);
}

std::shared_ptr<const ServedModel> AdapterOf(const std::string& fingerprint,
                                             const std::string& name) {
  ServedModel base;
  base.id = "m";
  base.fingerprint = fingerprint;
  base.kv_block_tokens = 16;
  return WithAdapter(base, {"id-" + name, name});
}

TEST_F(WorkerRegistryTest, SequencesOfAnAdapterGoToWorkersThatHaveIt) {
  registry_.SetAddresses({"a", "b"});
  Ready("a");
  Ready("b");
  EXPECT_EQ(registry_.FindModel("sql"), nullptr);
  registry_.OnAdapters(links_.at("b"), {AdapterOf("f", "sql")});
  const auto model = registry_.FindModel("sql");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->adapter, "id-sql");
  EXPECT_EQ(model->parent, "m");
  EXPECT_EQ(registry_.Models().size(), 2u);
  ASSERT_EQ(registry_.Candidates(model->fingerprint, 1, {}).size(), 1u);
  EXPECT_EQ(registry_.Candidates("f", 1, {}).size(), 2u);
  // Another adapter of the same name is another model.
  registry_.OnAdapters(links_.at("a"), {AdapterOf("g", "sql")});
  EXPECT_EQ(registry_.Candidates(model->fingerprint, 1, {}).size(), 1u);
  registry_.OnAdapters(links_.at("a"), {AdapterOf("f", "sql"), AdapterOf("f", "chat")});
  EXPECT_EQ(registry_.Candidates(model->fingerprint, 1, {}).size(), 2u);
  registry_.OnAdapters(links_.at("b"), {});
  EXPECT_EQ(registry_.Candidates(model->fingerprint, 1, {}).size(), 1u);
  EXPECT_TRUE(registry_.HasReadyWorker(model->fingerprint));
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  EXPECT_FALSE(registry_.HasReadyWorker(model->fingerprint));
  EXPECT_NE(registry_.FindModel("sql"), nullptr) << "known while its worker is only away";
}

TEST_F(WorkerRegistryTest, OnlyReadyWorkersOfTheBuildAreCandidates) {
  registry_.SetAddresses({"a", "b"});
  EXPECT_TRUE(registry_.Candidates("f", 1, {}).empty());
  Ready("a");
  Ready("b", "g");
  EXPECT_EQ(registry_.Candidates("f", 1, {}).size(), 1u);
  registry_.OnDraining(links_.at("a"));
  EXPECT_TRUE(registry_.Candidates("f", 1, {}).empty());
}

TEST_F(WorkerRegistryTest, CreditBoundsWhatWaitsThere) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const WorkerKey key = OnlyKey();
  auto handler = std::make_shared<FakeHandler>();
  const uint64_t first = registry_.Book(key, 60, handler).place.sequence_id;
  EXPECT_TRUE(registry_.Candidates("f", 41, {}).empty()) << "tokens";
  EXPECT_EQ(registry_.Candidates("f", 40, {}).size(), 1u);
  registry_.Book(key, 40, handler);
  EXPECT_TRUE(registry_.Candidates("f", 0, {}).empty()) << "sequences";
  capacity_ = 0;
  Output("a", first, Finish::Reason::kUnspecified);  // it runs now: no longer waiting
  EXPECT_EQ(capacity_, 1);
  EXPECT_EQ(registry_.Candidates("f", 10, {}).size(), 1u);
}

TEST_F(WorkerRegistryTest, AnOversizedPromptGoesWhenNothingElseWaits) {
  registry_.SetAddresses({"a"});
  Ready("a");
  EXPECT_EQ(registry_.Candidates("f", 1000, {}).size(), 1u);
}

TEST_F(WorkerRegistryTest, WhatIsCachedTakesNoCredit) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const std::vector<uint64_t> chain = {1, 2, 3, 4, 5};
  registry_.OnKvEvents(links_.at("a"), {1, {{KvEvent::Kind::kStored, chain}}});
  const WorkerKey key = OnlyKey();
  auto handler = std::make_shared<FakeHandler>();
  registry_.Book(key, 90, handler, /*cached_tokens=*/80, chain);  // 10 of 100
  EXPECT_EQ(registry_.Candidates("f", 90, {}).size(), 1u);
  EXPECT_TRUE(registry_.Candidates("f", 91, {}).empty());
  EXPECT_EQ(registry_.Candidates("f", 170, {}, chain).size(), 1u);
  EXPECT_TRUE(registry_.Candidates("f", 171, {}, chain).empty());
}

TEST_F(WorkerRegistryTest, AWorkerWithoutCreditIsShownWhileAnotherHasSome) {
  registry_.SetAddresses({"a", "b"});
  Ready("a");
  const WorkerKey a = OnlyKey();
  Ready("b");
  auto handler = std::make_shared<FakeHandler>();
  registry_.Book(a, 80, handler);
  for (const WorkerLoad& load : registry_.Candidates("f", 50, {})) {
    EXPECT_EQ(load.has_credit, load.worker != a);
  }
  EXPECT_EQ(registry_.Candidates("f", 50, {}).size(), 2u);
}

TEST_F(WorkerRegistryTest, ABeginningThatIsBeingComputedCountsAsCached) {
  registry_.SetAddresses({"a", "b"});
  Ready("a", "f", 100, 10'000);
  const WorkerKey a = OnlyKey();
  Ready("b", "f", 100, 10'000);
  const std::vector<uint64_t> chain = {1, 2, 3};
  const auto cached_at = [&](WorkerKey key) -> uint64_t {
    for (const WorkerLoad& load : registry_.Candidates("f", 60, {}, chain)) {
      if (load.worker == key) return load.cached_prompt_tokens;
    }
    return 99;
  };
  auto handler = std::make_shared<FakeHandler>();
  const uint64_t first = registry_.Book(a, 60, handler, 0, chain).place.sequence_id;
  EXPECT_EQ(cached_at(a), 48u);
  Output("a", first, Finish::Reason::kUnspecified);
  EXPECT_EQ(cached_at(a), 48u) << "it runs, and holds its blocks";
  Output("a", first, Finish::Reason::kMaxTokens);
  EXPECT_EQ(cached_at(a), 0u) << "now the worker's own events count alone";
  const uint64_t second = registry_.Book(a, 60, handler, 0, chain).place.sequence_id;
  EXPECT_EQ(cached_at(a), 48u);
  registry_.Cancel(a, second);
  EXPECT_EQ(cached_at(a), 0u);
  registry_.Book(a, 60, handler, 0, chain);
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  Ready("a", "f", 100, 10'000);
  for (const WorkerLoad& load : registry_.Candidates("f", 60, {}, chain)) {
    EXPECT_EQ(load.cached_prompt_tokens, 0u);
  }
}

TEST_F(WorkerRegistryTest, AddressesHaveTheSameHashInEverySession) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const uint64_t hash = registry_.Candidates("f", 1, {})[0].address_hash;
  EXPECT_NE(hash, 0u);
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  Ready("a");
  EXPECT_EQ(registry_.Candidates("f", 1, {})[0].address_hash, hash);
}

TEST_F(WorkerRegistryTest, LoadIsTheReportPlusWhatWasSentSince) {
  registry_.SetAddresses({"a"});
  Ready("a", "f", 10, 1000);
  const WorkerKey key = OnlyKey();
  auto handler = std::make_shared<FakeHandler>();
  const uint64_t first = registry_.Book(key, 10, handler).place.sequence_id;
  registry_.Book(key, 20, handler);
  WorkerLoad load = registry_.Candidates("f", 0, {})[0];
  EXPECT_EQ(load.sent_sequences, 2u);
  EXPECT_EQ(load.sent_tokens, 30u);
  LoadReport report;
  report.running_sequences = 1;
  report.includes_sequence_id = first;
  registry_.OnLoadReport(links_.at("a"), report);
  load = registry_.Candidates("f", 0, {})[0];
  EXPECT_EQ(load.running_sequences, 1u);
  EXPECT_EQ(load.sent_sequences, 1u);
  EXPECT_EQ(load.sent_tokens, 20u);
  // What ends after the report is load no more.
  Output("a", first, Finish::Reason::kMaxTokens);
  load = registry_.Candidates("f", 0, {})[0];
  EXPECT_EQ(load.running_sequences, 0u);
  EXPECT_EQ(load.sent_sequences, 1u);
}

TEST_F(WorkerRegistryTest, BeamsAreLoadUntilTheLastOfTheirAnswers) {
  registry_.SetAddresses({"a"});
  Ready("a", "f", 10, 1000);
  const WorkerKey key = OnlyKey();
  auto handler = std::make_shared<FakeHandler>();
  const BookingSize size{.most_output = 5, .answers = 2, .sequences = 4};
  const uint64_t id = registry_.Book(key, 10, handler, 0, {}, size).place.sequence_id;
  registry_.Book(key, 20, handler, 0, {}, size);
  const auto load = [&] { return registry_.Candidates("f", 0, {}).at(0); };
  EXPECT_EQ(load().sent_sequences, 8u);
  EXPECT_EQ(registry_.Candidates("f", 0, {}, {}, 0, 2).size(), 1u);
  EXPECT_EQ(registry_.Candidates("f", 0, {}, {}, 0, 3).size(), 0u);
  LoadReport report;
  report.running_sequences = 4;
  report.includes_sequence_id = id;
  registry_.OnLoadReport(links_.at("a"), report);
  EXPECT_EQ(load().sent_sequences, 4u);
  const auto say = [&](uint32_t answer, size_t tokens, bool ends) {
    SequenceOutput output;
    output.sequence_id = id;
    output.sample_index = answer;
    output.token_ids.assign(tokens, 1);
    if (ends) output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
    registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  };
  say(0, 0, false);
  EXPECT_EQ(registry_.Candidates("f", 0, {}, {}, 0, 6).size(), 1u) << "these wait no longer";
  say(1, 5, true);  // each answer has its own most_output
  say(0, 5, false);
  EXPECT_EQ(load().running_sequences, 4u);
  EXPECT_EQ(registry_.Workers()[0].booked_sequences, 2u);
  say(0, 0, true);
  EXPECT_EQ(load().running_sequences, 0u);
  EXPECT_EQ(registry_.Workers()[0].booked_sequences, 1u);
  EXPECT_EQ(handler->outputs, 4);
  EXPECT_TRUE(channels_["a"]->cancelled.empty());
}

TEST_F(WorkerRegistryTest, ALostWorkerTellsItsSequencesAndComesBackUnderANewKey) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const WorkerKey key = OnlyKey();
  auto handler = std::make_shared<FakeHandler>();
  registry_.Book(key, 1, handler);
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  EXPECT_EQ(handler->lost, 1);
  EXPECT_EQ(registry_.Book(key, 1, handler).channel, nullptr);
  Ready("a");
  EXPECT_NE(OnlyKey(), 0u);
  EXPECT_NE(OnlyKey(), key);
}

TEST_F(WorkerRegistryTest, ExcludedWorkersAreLeftOutWhileThereAreOthers) {
  registry_.SetAddresses({"a", "b"});
  Ready("a");
  const WorkerKey a = OnlyKey();
  EXPECT_EQ(registry_.Candidates("f", 1, {a}).size(), 1u) << "the only one: better than none";
  Ready("b");
  const std::vector<WorkerLoad> others = registry_.Candidates("f", 1, {a});
  ASSERT_EQ(others.size(), 1u);
  EXPECT_NE(others[0].worker, a);
}

TEST_F(WorkerRegistryTest, AnExcludedWorkerIsNotAskedWhileAnotherOnlyRests) {
  registry_.SetAddresses({"b"});
  Ready("b");
  const auto handler = std::make_shared<FakeHandler>();
  for (int i = 0; i < 2; ++i) {
    Output("b", registry_.Book(OnlyKey(), 1, handler).place.sequence_id, Finish::Reason::kError);
  }
  registry_.SetAddresses({"a", "b"});
  Ready("a");
  const WorkerKey a = OnlyKey();
  ASSERT_NE(a, 0u) << "b's breaker is open";
  EXPECT_TRUE(registry_.Candidates("f", 1, {a}).empty());
  clock_.Advance(std::chrono::seconds(5));
  const std::vector<WorkerLoad> others = registry_.Candidates("f", 1, {a});
  ASSERT_EQ(others.size(), 1u);
  EXPECT_NE(others[0].worker, a);
}

TEST_F(WorkerRegistryTest, ClientErrorsDoNotOpenTheBreaker) {
  registry_.SetAddresses({"a"});
  Ready("a");
  auto handler = std::make_shared<FakeHandler>();
  for (int i = 0; i < 10; ++i) {
    Output("a", registry_.Book(OnlyKey(), 1, handler).place.sequence_id, Finish::Reason::kRejected);
  }
  EXPECT_NE(OnlyKey(), 0u);
  for (int i = 0; i < 2; ++i) {
    Output("a", registry_.Book(OnlyKey(), 1, handler).place.sequence_id, Finish::Reason::kError);
  }
  EXPECT_EQ(OnlyKey(), 0u);
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_NE(OnlyKey(), 0u);
}

TEST_F(WorkerRegistryTest, OutputOfAForgottenSequenceIsCancelled) {
  registry_.SetAddresses({"a"});
  Ready("a");
  auto handler = std::make_shared<FakeHandler>();
  const uint64_t id = registry_.Book(OnlyKey(), 1, handler).place.sequence_id;
  registry_.Cancel(OnlyKey(), id);
  Output("a", id, Finish::Reason::kUnspecified);
  EXPECT_EQ(handler->outputs, 0);
  EXPECT_EQ(channels_.at("a")->cancelled, (std::vector<uint64_t>{id, id}));
}

TEST_F(WorkerRegistryTest, OutputsBesideThatOfAForgottenSequenceReachTheirOwnHandlers) {
  registry_.SetAddresses({"a"});
  Ready("a");
  const WorkerKey key = OnlyKey();
  for (int forgotten = 0; forgotten < 2; ++forgotten) {
    std::shared_ptr<FakeHandler> handlers[2];
    StepOutput step;
    uint64_t ids[2];
    for (int i = 0; i < 2; ++i) {
      handlers[i] = std::make_shared<FakeHandler>();
      ids[i] = registry_.Book(key, 1, handlers[i]).place.sequence_id;
      SequenceOutput& output = step.outputs.emplace_back();
      output.sequence_id = ids[i];
      output.token_ids = {1};
    }
    registry_.Cancel(key, ids[forgotten]);
    registry_.OnStepOutput(links_.at("a"), std::move(step));
    EXPECT_EQ(handlers[forgotten]->outputs, 0);
    EXPECT_EQ(handlers[1 - forgotten]->outputs, 1);
    EXPECT_EQ(handlers[1 - forgotten]->last_id, ids[1 - forgotten]);
    Output("a", ids[1 - forgotten], Finish::Reason::kStopToken);
  }
}

TEST_F(WorkerRegistryTest, ReadyWorkersAreThoseWithASessionThatServeTheModel) {
  registry_.SetAddresses({"a", "b", "c"});
  Ready("a");
  Ready("b");
  const auto addresses = [this](std::string_view model) {
    std::set<std::string> found;
    for (const ReadyWorker& worker : registry_.ReadyWorkers(model)) {
      EXPECT_EQ(worker.model_id, "m");
      EXPECT_EQ(worker.channel, channels_.at(worker.address));
      found.insert(worker.address);
    }
    return found;
  };
  EXPECT_EQ(addresses(""), (std::set<std::string>{"a", "b"}));
  EXPECT_EQ(addresses("m"), (std::set<std::string>{"a", "b"}));
  EXPECT_TRUE(addresses("other").empty());
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  EXPECT_EQ(addresses("m"), (std::set<std::string>{"b"}));
}

TEST_F(WorkerRegistryTest, DroppedAddressesLoseTheirSequencesAndTheirModel) {
  registry_.SetAddresses({"a"});
  Ready("a");
  auto handler = std::make_shared<FakeHandler>();
  registry_.Book(OnlyKey(), 1, handler);
  EXPECT_NE(registry_.FindModel("m"), nullptr);
  registry_.SetAddresses({});
  EXPECT_EQ(handler->lost, 1);
  EXPECT_EQ(registry_.FindModel("m"), nullptr);
}

TEST_F(WorkerRegistryTest, OneBuildUnderTwoIdsIsTwoModelsOfTheSameWorkers) {
  registry_.SetAddresses({"one", "two", "three"});
  Ready("one", "f", 2, 100, 4'096, "canary");
  Ready("two", "f", 2, 100, 4'096, "stable");
  Ready("three", "f", 2, 100, 4'096, "stable");
  EXPECT_EQ(registry_.FindModel("canary")->id, "canary");
  EXPECT_EQ(registry_.FindModel("stable")->id, "stable");
  const std::vector<ModelStatus> models = registry_.Models();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].model->id, "canary");
  EXPECT_EQ(models[0].ready_workers, 1u);
  EXPECT_EQ(models[1].model->id, "stable");
  EXPECT_EQ(models[1].ready_workers, 2u);
  EXPECT_EQ(registry_.Candidates("f", 1, {}).size(), 3u) << "equal fingerprints, equal answers";
}

TEST_F(WorkerRegistryTest, WorkersOfOneBuildKeepTheirOwnContexts) {
  registry_.SetAddresses({"small", "large"});
  Ready("small", "f", 2, 100, 4'096);
  EXPECT_EQ(registry_.FindModel("m")->max_context_tokens, 4'096u);
  const WorkerKey small = OnlyKey();
  EXPECT_TRUE(registry_.Candidates("f", 1, {}, {}, 4'097).empty());
  EXPECT_FALSE(registry_.HasReadyWorker("f", 4'097));

  Ready("large", "f", 2, 100, 8'192);
  EXPECT_EQ(registry_.FindModel("m")->max_context_tokens, 8'192u) << "the largest that is ready";
  EXPECT_EQ(registry_.Models().size(), 1u) << "one build";
  EXPECT_EQ(registry_.Models()[0].ready_workers, 2u);
  EXPECT_EQ(registry_.Candidates("f", 1, {}, {}, 4'096).size(), 2u);
  const std::vector<WorkerLoad> large = registry_.Candidates("f", 1, {}, {}, 4'097);
  ASSERT_EQ(large.size(), 1u);
  EXPECT_NE(large[0].worker, small);
  EXPECT_EQ(registry_.Candidates("f", 1, {large[0].worker}, {}, 8'192).size(), 1u)
      << "excluded, and yet the only one that is large enough";
  EXPECT_TRUE(registry_.HasReadyWorker("f", 8'192));
  EXPECT_FALSE(registry_.HasReadyWorker("f", 8'193));

  registry_.OnLost(links_.at("large"), absl::UnavailableError("gone"));
  EXPECT_EQ(registry_.FindModel("m")->max_context_tokens, 4'096u) << "what is there to be had";
  registry_.OnLost(links_.at("small"), absl::UnavailableError("gone"));
  EXPECT_EQ(registry_.FindModel("m")->max_context_tokens, 8'192u) << "what may come back";
}

TEST_F(WorkerRegistryTest, CandidatesTellWhatTheyHaveCached) {
  registry_.SetAddresses({"a"});
  Ready("a", "f", 10, 1000);
  const std::vector<uint64_t> hashes = {11, 12, 13};
  EXPECT_EQ(registry_.Candidates("f", 50, {}, hashes)[0].cached_prompt_tokens, 0u);
  registry_.OnKvEvents(links_.at("a"), {1, {{KvEvent::Kind::kStored, {11, 12}}}});
  EXPECT_EQ(registry_.Candidates("f", 50, {}, hashes)[0].cached_prompt_tokens, 32u);
  // What is cached need not be computed: it is no load.
  registry_.Book(OnlyKey(), 50, std::make_shared<FakeHandler>(), 32, hashes);
  EXPECT_EQ(registry_.Candidates("f", 50, {})[0].sent_tokens, 18u);
  // A new session starts from nothing.
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  Ready("a");
  EXPECT_EQ(registry_.Candidates("f", 50, {}, hashes)[0].cached_prompt_tokens, 0u);
}

TEST_F(WorkerRegistryTest, AFirstOutputTeachesWhatWasCachedBefore) {
  registry_.SetAddresses({"a"});
  Ready("a", "f", 10, 1000);
  const std::vector<uint64_t> hashes = {11, 12, 13};
  const uint64_t id =
      registry_.Book(OnlyKey(), 50, std::make_shared<FakeHandler>(), 0, hashes).place.sequence_id;
  SequenceOutput output;
  output.sequence_id = id;
  output.token_ids = {1};
  output.cached_prompt_tokens = 32;
  registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  Output("a", id, Finish::Reason::kMaxTokens);
  EXPECT_EQ(registry_.Candidates("f", 50, {}, hashes)[0].cached_prompt_tokens, 32u);
}

TEST_F(WorkerRegistryTest, ADroppedWorkerLeavesNoSeriesBehind) {
  registry_.SetAddresses({"a", "b"});
  Ready("a");
  registry_.Book(OnlyKey(), 1, std::make_shared<FakeHandler>());
  EXPECT_NE(metrics_registry_.Serialize().find("worker=\"a\"} 1"), std::string::npos);
  registry_.SetAddresses({"b"});
  EXPECT_EQ(metrics_registry_.Serialize().find("worker=\"a\""), std::string::npos);
}

TEST_F(WorkerRegistryTest, ASuccessCountsAgainstTheBreakerAndOtherEndsDoNot) {
  registry_.SetAddresses({"a"});
  Ready("a");
  auto handler = std::make_shared<FakeHandler>();
  const auto end = [&](Finish::Reason reason, absl::StatusCode code = absl::StatusCode::kInternal) {
    SequenceOutput output;
    output.sequence_id = registry_.Book(OnlyKey(), 1, handler).place.sequence_id;
    output.finish = Finish{reason, static_cast<uint32_t>(code), {}};
    registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  };
  for (const Finish::Reason good :
       {Finish::Reason::kStopToken, Finish::Reason::kMaxTokens, Finish::Reason::kContextFull}) {
    end(Finish::Reason::kError);
    end(good);
    end(Finish::Reason::kError);
    EXPECT_NE(OnlyKey(), 0u) << "never two in a row: " << FinishReasonName(good);
    end(good);
  }
  // In between, what says nothing of the worker changes nothing.
  end(Finish::Reason::kError);
  end(Finish::Reason::kCancelled);
  end(Finish::Reason::kError, absl::StatusCode::kInvalidArgument);
  EXPECT_NE(OnlyKey(), 0u);
  end(Finish::Reason::kError);
  EXPECT_EQ(OnlyKey(), 0u);
  EXPECT_TRUE(registry_.HasReadyWorker("f")) << "it is there, and will be tried again";
}

TEST_F(WorkerRegistryTest, AProbeIsOneSequenceUntilItEndsOrIsCancelled) {
  registry_.SetAddresses({"a"});
  Ready("a");
  auto handler = std::make_shared<FakeHandler>();
  for (int i = 0; i < 2; ++i) {
    Output("a", registry_.Book(OnlyKey(), 1, handler).place.sequence_id, Finish::Reason::kError);
  }
  clock_.Advance(std::chrono::milliseconds(4999));
  EXPECT_EQ(OnlyKey(), 0u);
  clock_.Advance(std::chrono::milliseconds(1));
  const WorkerKey key = OnlyKey();
  const uint64_t probe = registry_.Book(key, 1, handler).place.sequence_id;
  EXPECT_EQ(OnlyKey(), 0u) << "the probe is on its way";
  registry_.Cancel(key, probe);
  EXPECT_EQ(OnlyKey(), key) << "it told nothing: another may try";
  Output("a", registry_.Book(key, 1, handler).place.sequence_id, Finish::Reason::kMaxTokens);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(OnlyKey(), key) << "closed again";
    registry_.Book(key, 1, handler);
  }
}

TEST_F(WorkerRegistryTest, ZonesFollowDiscovery) {
  registry_.SetAddresses({{"a", true}, {"b", false}});
  Ready("a");
  EXPECT_TRUE(registry_.Candidates("f", 1, {})[0].other_zone);
  registry_.SetAddresses({{"a", false}, {"b", false}});
  EXPECT_FALSE(registry_.Candidates("f", 1, {})[0].other_zone);
  registry_.SetAddresses({{"a", true}, {"b", false}});
  registry_.OnLost(links_.at("a"), absl::UnavailableError("gone"));
  Ready("a");
  EXPECT_TRUE(registry_.Candidates("f", 1, {})[0].other_zone) << "also in a new session";
}

TEST_F(WorkerRegistryTest, AClosedLinkIsKeptWhileSomebodySendsThroughIt) {
  registry_.SetAddresses({"a"});
  Ready("a");
  std::weak_ptr<FakeChannel> weak = channels_.at("a");
  channels_.clear();
  auto booked = registry_.Book(OnlyKey(), 1, std::make_shared<FakeHandler>());
  registry_.SetAddresses({});
  registry_.Reap();
  EXPECT_FALSE(weak.expired());
  booked.channel = nullptr;
  EXPECT_FALSE(weak.expired()) << "not on the thread that lets go";
  registry_.Reap();
  EXPECT_TRUE(weak.expired());
}

TEST_F(WorkerRegistryTest, AnAddressThatComesBackIsANewLinkAndOneThatStaysIsNot) {
  registry_.SetAddresses({"a", "b"});
  const std::map<std::string, LinkId> before = links_;
  registry_.SetAddresses({"b", "a", "c"});
  EXPECT_EQ(links_.at("a"), before.at("a"));
  EXPECT_EQ(links_.at("b"), before.at("b"));
  registry_.SetAddresses({"b", "c"});
  registry_.OnReady(before.at("a"), {});
  EXPECT_EQ(registry_.num_ready(), 0u) << "late words of a link that is gone";
  registry_.SetAddresses({"a", "b", "c"});
  EXPECT_NE(links_.at("a"), before.at("a"));
}

TEST_F(WorkerRegistryTest, WhatASequenceMayStillGetIsBounded) {
  registry_.SetAddresses({"a"});
  Ready("a", "f", 10, 1000, /*max_context_tokens=*/20);
  const auto book = [&](uint32_t tokens, uint32_t most) {
    auto handler = std::make_shared<FakeHandler>();
    const BookingSize size{.most_output = most};
    const uint64_t id = registry_.Book(OnlyKey(), tokens, handler, 0, {}, size).place.sequence_id;
    return std::pair(handler, id);
  };
  const auto say = [&](uint64_t id, size_t num_tokens) {
    SequenceOutput output;
    output.sequence_id = id;
    output.token_ids.assign(num_tokens, 1);
    registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  };
  const auto is_booked = [&] { return registry_.Workers()[0].booked_sequences; };
  auto [asked, asked_id] = book(10, 3);  // what was asked for
  say(asked_id, 2);
  say(asked_id, 1);
  EXPECT_EQ(is_booked(), 1u);
  say(asked_id, 1);
  EXPECT_EQ(is_booked(), 0u);
  EXPECT_EQ(asked->outputs, 3) << "the last one says that it is over";
  EXPECT_EQ(channels_.at("a")->cancelled, std::vector<uint64_t>{asked_id});
  auto [roomy, roomy_id] = book(15, UINT32_MAX);  // what the context holds
  say(roomy_id, 5);
  EXPECT_EQ(is_booked(), 1u);
  say(roomy_id, 1);
  EXPECT_EQ(is_booked(), 0u);
}

TEST_F(WorkerRegistryTest, OfBuildsWithAsManyWorkersTheNewerAnswers) {
  registry_.SetAddresses({"a", "b"});
  const auto ready = [&](const std::string& address, int64_t created) {
    auto model = std::make_shared<ServedModel>();
    model->id = "m";
    model->fingerprint = address;
    model->created_unix_s = created;
    WorkerInfo info;
    info.model = model;
    registry_.OnReady(links_.at(address), info);
  };
  ready("a", 5);
  ready("b", 4);
  EXPECT_EQ(registry_.FindModel("m")->fingerprint, "a");
  registry_.SetAddresses({});
  registry_.SetAddresses({"a", "b"});
  ready("a", 4);
  ready("b", 5);
  EXPECT_EQ(registry_.FindModel("m")->fingerprint, "b");
  registry_.OnLost(links_.at("b"), absl::UnavailableError("gone"));
  EXPECT_EQ(registry_.FindModel("m")->fingerprint, "a") << "what is ready goes before";
}

TEST_F(WorkerRegistryTest, TheBuildWithMoreReadyWorkersAnswersToTheName) {
  registry_.SetAddresses({"a", "b", "c"});
  Ready("a", "old");
  Ready("b", "new");
  Ready("c", "new");
  EXPECT_EQ(registry_.FindModel("m")->fingerprint, "new");
  EXPECT_EQ(registry_.FindModel("other"), nullptr);
}

}  // namespace
}  // namespace pingti::router
