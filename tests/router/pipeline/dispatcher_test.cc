// The dispatcher between a queue, a policy and a registry with scripted links.
#include "router/pipeline/dispatcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "router/policy/choose_policy.h"
#include "router/policy/prefix_affinity.h"
#include "router/queue/fifo_order.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

class CountingChannel final : public WorkerChannel {
 public:
  void Submit(std::vector<Sequence> sequences) override {
    for (const Sequence& sequence : sequences) {
      requests.push_back(sequence.request_id);
      ids[sequence.request_id] = sequence.sequence_id;
    }
  }
  void Cancel(uint64_t) override {}
  std::vector<std::string> requests;
  std::map<std::string, uint64_t> ids;
};

class SilentHandler final : public SequenceHandler {
 public:
  void OnPlaced(const SequencePlace&) override {}
  void OnOutput(SequenceOutput output) override {
    if (output.finish.has_value()) last_reason = output.finish->reason;
  }
  void OnLost(const absl::Status&) override {}
  void OnQueueTimeout() override {}
  Finish::Reason last_reason = Finish::Reason::kUnspecified;
};

class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() {
    registry_.Connect(
        [this](LinkId id, const std::string& address) {
          links_[address] = id;
          return channels_[address] = std::make_shared<CountingChannel>();
        },
        [this] { dispatcher_.Pump(); });
    registry_.SetAddresses({"a", "b"});
    auto model = std::make_shared<ServedModel>();
    model->fingerprint = "f";
    model->kv_block_tokens = 16;
    WorkerInfo info;
    info.model = model;
    info.max_batch_size = 8;
    info.credit_sequences = 1;
    info.credit_tokens = 10'000;
    info.kv_total_blocks = 1000;
    for (const auto& [address, link] : links_) registry_.OnReady(link, info);
  }

  // What is still queued goes nowhere, while the tests' chains are there.
  ~DispatcherTest() override { registry_.CloseAll(); }

  // Names of `count` blocks, kept as long as the jobs.
  std::span<const uint64_t> Chain(uint64_t count) {
    chain_.clear();
    for (uint64_t i = 1; i <= count; ++i) chain_.push_back(i);
    return chain_;
  }
  void Cached(const std::string& address) {
    registry_.OnKvEvents(links_.at(address), {1, {{KvEvent::Kind::kStored, chain_}}});
  }

  void Submit(const std::string& name, uint32_t tokens, std::span<const uint64_t> chain = {}) {
    SequenceJob job;
    job.id = dispatcher_.NextJobId();
    job.fingerprint = "f";
    job.sequence.request_id = name;
    job.handler = handler_;
    job.tokens = tokens;
    job.block_hashes = chain;
    job.give_up_at = std::chrono::steady_clock::time_point::max();
    dispatcher_.Submit(std::move(job));
  }
  // How a sequence ends whose worker says `count` tokens of it.
  Finish::Reason EndAfter(const std::string& name, const StopCriteria& stop, uint32_t generated,
                          size_t count) {
    SequenceJob job;
    job.id = dispatcher_.NextJobId();
    job.fingerprint = "f";
    job.sequence.request_id = name;
    job.sequence.stop = stop;
    job.sequence.generated_token_ids.assign(generated, 1);
    job.handler = handler_;
    job.tokens = 10;
    job.give_up_at = std::chrono::steady_clock::time_point::max();
    dispatcher_.Submit(std::move(job));
    const std::string address = At("a").empty() || At("a").back() != name ? "b" : "a";
    SequenceOutput output;
    output.sequence_id = channels_[address]->ids.at(name);
    output.token_ids.assign(count, 1);
    output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
    registry_.OnStepOutput(links_.at(address), {{std::move(output)}});
    return handler_->last_reason;
  }
  std::vector<std::string> At(const std::string& address) { return channels_[address]->requests; }
  void FirstToken(const std::string& address, const std::string& request) {
    SequenceOutput output;
    output.sequence_id = channels_[address]->ids.at(request);
    output.token_ids = {1};
    registry_.OnStepOutput(links_.at(address), {{std::move(output)}});
  }

  std::vector<uint64_t> chain_;
  const std::shared_ptr<SilentHandler> handler_ = std::make_shared<SilentHandler>();
  testing::FakeClock clock_;
  std::map<std::string, LinkId> links_;
  std::map<std::string, std::shared_ptr<CountingChannel>> channels_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  WorkerRegistry registry_{{}, &clock_, &metrics_};
  Dispatcher dispatcher_{
      &registry_, std::make_unique<PrefixAffinityPolicy>(PrefixAffinitySettings{}, CostSettings{}),
      std::make_unique<FifoOrder>(), &clock_};
};

using Names = std::vector<std::string>;

TEST_F(DispatcherTest, ASequenceWaitsForTheWorkerThatHasItsPastWhileOthersGo) {
  const auto chain = Chain(200);
  Cached("a");
  Submit("first", 3210, chain);
  EXPECT_EQ(At("a"), Names{"first"});
  Submit("second", 3220, chain);
  EXPECT_EQ(dispatcher_.queued(), 1u) << "a has no credit, and b would compute 3,220 tokens";
  Submit("stranger", 100);
  EXPECT_EQ(At("b"), Names{"stranger"});
  FirstToken("a", "first");
  EXPECT_EQ(At("a"), (Names{"first", "second"}));
  EXPECT_EQ(dispatcher_.queued(), 0u);
}

TEST_F(DispatcherTest, ALongLineForOneWorkerSendsTheRestElsewhere) {
  const auto chain = Chain(4);
  Cached("a");
  for (int i = 0; i < 8; ++i) Submit(std::to_string(i), 80, chain);
  EXPECT_EQ(At("a").size(), 1u);
  EXPECT_EQ(At("b").size(), 1u) << "64 tokens are not worth the wait behind all that wait for a";
  EXPECT_EQ(dispatcher_.queued(), 6u);
}

TEST_F(DispatcherTest, PromptsOfOneBurstMeetWhereTheFirstIsComputed) {
  const auto chain = Chain(200);
  Submit("first", 3210, chain);
  const std::string home = At("a").empty() ? "b" : "a";
  Submit("second", 3220, chain);
  EXPECT_EQ(dispatcher_.queued(), 1u);
  FirstToken(home, "first");
  EXPECT_EQ(At(home), (Names{"first", "second"}));
}

TEST_F(DispatcherTest, ABreakerThatClosesByTimeAloneSendsWhatWaits) {
  registry_.OnLost(links_.at("b"), absl::UnavailableError("gone"));
  for (int i = 0; i < 5; ++i) {
    const std::string name = std::to_string(i);
    Submit(name, 10);
    SequenceOutput output;
    output.sequence_id = channels_["a"]->ids.at(name);
    output.finish = Finish{Finish::Reason::kError, 13, {}};
    registry_.OnStepOutput(links_.at("a"), {{std::move(output)}});
  }
  Submit("waits", 10);
  EXPECT_EQ(dispatcher_.queued(), 1u);
  clock_.Advance(std::chrono::milliseconds(4999));
  dispatcher_.Tick();
  EXPECT_EQ(dispatcher_.queued(), 1u);
  clock_.Advance(std::chrono::milliseconds(1));
  dispatcher_.Tick();
  EXPECT_EQ(dispatcher_.queued(), 0u);
  EXPECT_EQ(At("a").back(), "waits");
}

TEST_F(DispatcherTest, AWorkerMayAddWhatIsLeftOfAnAnswersLengthAndNoMore) {
  int name = 0;
  for (uint32_t most = 1; most <= 3; ++most) {
    for (uint32_t generated = 0; generated <= most + 1; ++generated) {
      for (uint32_t count = 0; count <= 3; ++count) {
        const bool fits = generated + count <= std::max(most, generated);
        EXPECT_EQ(EndAfter(std::to_string(name++), {.max_tokens = most}, generated, count),
                  fits ? Finish::Reason::kMaxTokens : Finish::Reason::kError)
            << count << " tokens more, with " << generated << " of " << most;
      }
    }
  }
  EXPECT_EQ(EndAfter("unlimited", {.max_tokens = 0}, 2, 1000), Finish::Reason::kMaxTokens);
}

TEST_F(DispatcherTest, WhatIsCancelledWhileItWaitsGoesNowhere) {
  Submit("a0", 10);
  Submit("b0", 10);
  const uint64_t id = dispatcher_.NextJobId() + 1;
  Submit("cancelled", 10);
  Submit("waits", 10);
  EXPECT_EQ(dispatcher_.queued(), 2u);
  dispatcher_.CancelQueued(id);
  EXPECT_EQ(dispatcher_.queued(), 1u);
  dispatcher_.CancelQueued(id);
  const std::string free = At("a").front();
  FirstToken("a", free);
  EXPECT_EQ(At("a").back(), "waits");
}

TEST_F(DispatcherTest, APolicyThatMayNotWaitSendsToWhoHasRoom) {
  const auto chain = Chain(200);
  Cached("a");
  Submit("first", 3210, chain);
  dispatcher_.SetPolicy(*MakePolicy("least_loaded"));
  Submit("second", 3220, chain);
  EXPECT_EQ(At("b"), Names{"second"});
}

}  // namespace
}  // namespace pingti::router
