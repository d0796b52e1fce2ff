// Sessions that join and leave: what each is told of credit, draining and load.
#include "worker/server/session_hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "tests/testing/wait_for.h"

namespace pingti::worker {
namespace {

class CountingWriter final : public SessionWriter {
 public:
  void Flush() override { ++flushes; }
  void EndWhenFlushed() override { ++ends; }
  std::atomic<int> flushes{0};
  std::atomic<int> ends{0};
};

struct Router {
  std::shared_ptr<CountingWriter> writer = std::make_shared<CountingWriter>();
  std::shared_ptr<Outbox> outbox = std::make_shared<Outbox>();

  // Everything that it would be sent now.
  std::vector<v1::SessionResponse> TakeAll() const {
    std::vector<v1::SessionResponse> taken;
    v1::SessionResponse response;
    while (outbox->Take(&response)) {
      taken.push_back(response);
      response.Clear();
    }
    return taken;
  }
};

class SessionHubTest : public ::testing::Test {
 protected:
  static HubOptions Options() {
    HubOptions options;
    options.report_interval = std::chrono::hours(1);
    options.total_credit = {.max_waiting_sequences = 10, .max_waiting_tokens = 1000};
    options.identity = {"worker-1", "inc-1", "print", {}, 100};
    return options;
  }
  Router Join(uint32_t max_message_bytes = 0) {
    Router router;
    hub_.Add(router.writer, router.outbox, /*output_credit=*/0, max_message_bytes);
    return router;
  }
  // What the router was told last of its credit, in its Welcome or later.
  static SubmitCredit CreditOf(const Router& router) {
    SubmitCredit credit;
    for (const v1::SessionResponse& response : router.TakeAll()) {
      const v1::SubmitCredit* told = nullptr;
      if (response.has_welcome()) told = &response.welcome().initial_credit();
      if (response.has_submit_credit()) told = &response.submit_credit();
      if (told != nullptr) credit = {told->max_waiting_sequences(), told->max_waiting_tokens()};
    }
    return credit;
  }

  SessionHub hub_{Options(), nullptr};
};

TEST_F(SessionHubTest, CreditIsDividedAmongThoseThatAreThere) {
  const Router first = Join();
  EXPECT_EQ(CreditOf(first), (SubmitCredit{10, 1000}));
  const Router second = Join();
  EXPECT_EQ(CreditOf(first), (SubmitCredit{5, 500}));
  EXPECT_EQ(CreditOf(second), (SubmitCredit{5, 500}));
  const Router third = Join();
  EXPECT_EQ(CreditOf(first), (SubmitCredit{3, 333}));
  EXPECT_EQ(CreditOf(third), (SubmitCredit{3, 333}));
  EXPECT_EQ(hub_.num_sessions(), 3u);
  hub_.Remove(second.writer.get());
  hub_.Remove(second.writer.get());  // once is enough
  EXPECT_EQ(hub_.num_sessions(), 2u);
  CreditOf(second);
  EXPECT_EQ(CreditOf(first), (SubmitCredit{5, 500}));
  EXPECT_EQ(CreditOf(third), (SubmitCredit{5, 500}));
  hub_.Remove(third.writer.get());
  EXPECT_EQ(CreditOf(first), (SubmitCredit{10, 1000}));
}

TEST_F(SessionHubTest, WhoeverIsThereMaySendOneSequence) {
  std::vector<Router> routers;
  for (int i = 0; i < 1001; ++i) routers.push_back(Join());
  EXPECT_EQ(CreditOf(routers.front()), (SubmitCredit{1, 1}));
  EXPECT_EQ(CreditOf(routers.back()), (SubmitCredit{1, 1}));
}

TEST_F(SessionHubTest, TheWelcomeSaysWhichModelIsServed) {
  const std::vector<v1::SessionResponse> told = Join().TakeAll();
  ASSERT_GE(told.size(), 1u);
  ASSERT_TRUE(told[0].has_welcome());
  EXPECT_EQ(told[0].welcome().worker_id(), "worker-1");
  EXPECT_EQ(told[0].welcome().incarnation(), "inc-1");
  EXPECT_EQ(told[0].welcome().model_fingerprint(), "print");
  EXPECT_EQ(told[0].welcome().max_message_bytes(), 100u);
}

TEST_F(SessionHubTest, WhoJoinsWhileItDrainsIsTold) {
  const Router before = Join();
  before.TakeAll();
  EXPECT_FALSE(hub_.draining());
  hub_.AnnounceDraining(7000);
  EXPECT_TRUE(hub_.draining());
  const std::vector<v1::SessionResponse> news = before.TakeAll();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].draining().deadline_ms(), 7000u);
  const std::vector<v1::SessionResponse> told = Join().TakeAll();
  ASSERT_GE(told.size(), 2u);
  EXPECT_TRUE(told[0].has_welcome());
  ASSERT_TRUE(told[1].has_draining());
  EXPECT_EQ(told[1].draining().deadline_ms(), 7000u);
}

TEST_F(SessionHubTest, WhoJoinsIsToldTheLoadWithoutWaitingForTheNextReport) {
  hub_.OnStepEnd({}, {.step = 7, .running_sequences = 3});
  const std::vector<v1::SessionResponse> told = Join().TakeAll();
  ASSERT_GE(told.size(), 2u);
  EXPECT_TRUE(told[0].has_welcome());
  ASSERT_TRUE(told[1].has_load_report());
  EXPECT_EQ(told[1].load_report().step(), 7u);
  EXPECT_EQ(told[1].load_report().running_sequences(), 3u);
}

TEST_F(SessionHubTest, AllAreEnded) {
  const Router first = Join();
  const Router second = Join();
  const Router gone = Join();
  hub_.Remove(gone.writer.get());
  hub_.EndAll();
  EXPECT_EQ(first.writer->ends, 1);
  EXPECT_EQ(second.writer->ends, 1);
  EXPECT_EQ(gone.writer->ends, 0);
}

TEST_F(SessionHubTest, CacheEventsReachAllThatAreThere) {
  const Router first = Join();
  const Router second = Join();
  first.TakeAll();
  second.TakeAll();
  const CacheEvent stored{};
  hub_.OnCacheEvents(std::span(&stored, 1));
  for (const Router* router : {&first, &second}) {
    const auto told = router->TakeAll();
    ASSERT_EQ(told.size(), 1u);
    EXPECT_TRUE(told[0].has_kv_events());
  }
  EXPECT_FALSE(Join().TakeAll().back().has_kv_events()) << "what was before its time";
}

TEST_F(SessionHubTest, WhatIsHeldIsWrittenWhenItIsDue) {
  const Router router = Join();
  hub_.Start();
  const auto say = [&](int32_t token) {
    std::vector<SequenceOutput> outputs(1);
    outputs[0].sequence_id = 1;
    outputs[0].token_ids = {token};
    outputs[0].interval = std::chrono::milliseconds(20);
    hub_.RingAt(router.outbox->AddOutputs(1, outputs, std::chrono::steady_clock::now()));
  };
  std::vector<uint32_t> told;
  const auto read = [&] {
    for (const v1::SessionResponse& response : router.TakeAll()) {
      for (const v1::SequenceOutput& output : response.step_output().outputs()) {
        told.insert(told.end(), output.token_ids().begin(), output.token_ids().end());
      }
    }
    return told.size();
  };
  say(1);
  ASSERT_TRUE(testing::WaitFor([&] { return read() == 1; }));
  // Nothing else rings: the next report is an hour away.
  for (int32_t token = 2; token <= 4; ++token) {
    const int before = router.writer->flushes;
    say(token);
    ASSERT_TRUE(testing::WaitFor([&] { return read() == static_cast<size_t>(token); })) << token;
    EXPECT_TRUE(testing::WaitFor([&] { return router.writer->flushes > before; }));
  }
  EXPECT_EQ(told, (std::vector<uint32_t>{1, 2, 3, 4}));
}

TEST_F(SessionHubTest, ALargeChangeOfLoadIsReportedAtOnceAndASmallOneIsNot) {
  const Router router = Join();
  hub_.Start();
  ASSERT_TRUE(testing::WaitFor([&] { return router.writer->flushes >= 1; }));
  router.TakeAll();
  const auto change = [&](LoadSnapshot load) {
    const int before = router.writer->flushes;
    hub_.OnStepEnd({}, load);
    hub_.Ring();
    EXPECT_TRUE(testing::WaitFor([&] { return router.writer->flushes > before; }));
    std::vector<v1::SessionResponse> told = router.TakeAll();
    return !told.empty() && told.back().has_load_report();
  };
  LoadSnapshot load{.kv_total_blocks = 80};
  load.waiting_sequences = 3;
  EXPECT_FALSE(change(load));
  load.waiting_sequences = 4;
  EXPECT_TRUE(change(load)) << "four more";
  load.waiting_sequences = 40;
  EXPECT_TRUE(change(load));
  load.waiting_sequences = 49;
  EXPECT_FALSE(change(load)) << "less than a quarter";
  load.waiting_sequences = 50;
  EXPECT_TRUE(change(load));
  load.running_sequences = 4;
  EXPECT_TRUE(change(load));
  load.kv_leased_blocks = 10;
  EXPECT_FALSE(change(load)) << "an eighth of all";
  load.kv_leased_blocks = 11;
  EXPECT_TRUE(change(load));
  load.kv_leased_blocks = 0;
  EXPECT_TRUE(change(load)) << "fewer count as well";
  hub_.Stop();
}

TEST_F(SessionHubTest, WhoStaysIsToldAtOnceOfTheCreditThatAnotherLeaves) {
  const Router stays = Join();
  const Router leaves = Join();
  hub_.Start();
  ASSERT_TRUE(testing::WaitFor([&] { return stays.writer->flushes >= 1; }));
  const int before = stays.writer->flushes;
  hub_.Remove(leaves.writer.get());
  EXPECT_TRUE(testing::WaitFor([&] { return stays.writer->flushes > before; }));
  EXPECT_EQ(CreditOf(stays), (SubmitCredit{10, 1000}));
  hub_.Stop();
}

// With an hour between two reports, whatever is written was asked for.
TEST_F(SessionHubTest, EveryKindOfNewsIsWrittenAtOnce) {
  const Router router = Join();
  const Router other;
  const CacheEvent stored{};
  const std::vector<std::function<void()>> news = {
      [&] { hub_.Add(other.writer, other.outbox, 0, 0); },
      [&] { hub_.Remove(other.writer.get()); },
      [&] { hub_.Ring(); },
      [&] {
        hub_.SetAdapters({{"id", "name", "path"}});
      },
      [&] { hub_.OnCacheEvents(std::span(&stored, 1)); },
      [&] { hub_.OnStepEnd({}, {.waiting_sequences = 100}); },
      [&] { hub_.AnnounceDraining(7); },
  };
  hub_.Start();
  ASSERT_TRUE(testing::WaitFor([&] { return router.writer->flushes >= 1; }));
  for (size_t i = 0; i < news.size(); ++i) {
    const int before = router.writer->flushes;
    news[i]();
    EXPECT_TRUE(testing::WaitFor([&] { return router.writer->flushes > before; })) << "news " << i;
  }
  hub_.Stop();
}

TEST_F(SessionHubTest, MetricsCountWhatStepsDid) {
  metrics::Registry registry;
  metrics::WorkerMetrics metrics(&registry, "m");
  SessionHub hub(Options(), &metrics);
  StepStats stats;
  stats.duration = std::chrono::milliseconds(250);
  stats.num_sequences = 3;
  stats.num_tokens = 40;
  stats.num_drafts = 6;
  stats.num_accepted_drafts = 4;
  stats.accepted_lengths[2] = 2;
  stats.num_read_for_drafts = 9;
  stats.draft_time = std::chrono::milliseconds(125);
  stats.admitted_prompt_tokens = 30;
  stats.admitted_cached_tokens = 10;
  stats.output_tokens = 7;
  stats.expert_imbalance = 1.75;
  stats.finished[static_cast<int>(FinishReason::kMaxTokens)] = 2;
  LoadSnapshot load{.running_sequences = 5,
                    .waiting_sequences = 6,
                    .kv_total_blocks = 70,
                    .kv_leased_blocks = 20,
                    .kv_cached_blocks = 9,
                    .preemptions_total = 4};
  hub.OnStepEnd(stats, load);
  load.preemptions_total = 5;
  stats.expert_imbalance.reset();  // most steps say nothing of it
  hub.OnStepEnd(stats, load);
  StepStats idle;  // of a step in which a sequence only ended
  idle.finished[static_cast<int>(FinishReason::kCancelled)] = 1;
  hub.OnStepEnd(idle, load);
  EXPECT_EQ(metrics.running_sequences.Value(), 5);
  EXPECT_EQ(metrics.waiting_sequences.Value(), 6);
  EXPECT_EQ(metrics.kv_blocks.Value(), 70);
  EXPECT_EQ(metrics.kv_blocks_leased.Value(), 20);
  EXPECT_EQ(metrics.kv_blocks_cached.Value(), 9);
  EXPECT_EQ(metrics.preemptions.Value(), 5);
  EXPECT_EQ(metrics.steps.Value(), 2);
  EXPECT_EQ(metrics.prompt_tokens.Value(), 60);
  EXPECT_EQ(metrics.cached_tokens.Value(), 20);
  EXPECT_EQ(metrics.output_tokens.Value(), 14);
  EXPECT_EQ(metrics.expert_imbalance.Value(), 1.75);
  EXPECT_EQ(metrics.drafts.Value(), 12);
  EXPECT_EQ(metrics.drafts_accepted.Value(), 8);
  EXPECT_EQ(metrics.draft_reads.Value(), 18);
  EXPECT_EQ(metrics.draft_seconds.Value(), 0.25);
  const std::string text = registry.Serialize();
  for (const char* sample :
       {"pingti_worker_step_duration_seconds_sum 0.5\n", "pingti_worker_batch_tokens_sum 80\n",
        "pingti_worker_batch_sequences_sum 6\n", "pingti_worker_drafts_accepted_length_sum 8\n",
        "pingti_worker_drafts_accepted_length_count 4\n",
        "pingti_worker_sequences_finished_total{reason=\"max_tokens\"} 4\n",
        "pingti_worker_sequences_finished_total{reason=\"cancelled\"} 1\n"}) {
    EXPECT_NE(text.find(sample), std::string::npos) << sample << text;
  }
}

TEST_F(SessionHubTest, LoadIsReportedAfterTheIntervalWhateverHappens) {
  HubOptions options = Options();
  options.report_interval = std::chrono::milliseconds(1);
  SessionHub hub(options, nullptr);
  const Router router;
  hub.Add(router.writer, router.outbox, 0, 0);
  hub.Start();
  router.TakeAll();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(testing::WaitFor([&] {
      const auto told = router.TakeAll();
      return !told.empty() && told.back().has_load_report();
    }));
  }
}

}  // namespace
}  // namespace pingti::worker
