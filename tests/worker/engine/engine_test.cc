// The engine's thread: answers, liveness, and an end with work in progress.
#include "worker/engine/engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>

#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/wait_for.h"

namespace pingti::worker {
namespace {

using testing::kPatience;

// Counts endings and tokens; tests wait on it.
struct Tally {
  Mutex mutex;
  CondVar changed;
  int finished PINGTI_GUARDED_BY(mutex) = 0;
  int tokens PINGTI_GUARDED_BY(mutex) = 0;

  bool WaitFinished(int count) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mutex);
    while (finished < count) {
      if (!changed.WaitUntil(&mutex, deadline)) return finished >= count;
    }
    return true;
  }
};

class TallySink : public SessionSink {
 public:
  explicit TallySink(std::shared_ptr<Tally> tally) : tally_(std::move(tally)) {}
  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    MutexLock lock(&tally_->mutex);
    for (const SequenceOutput& output : outputs) {
      tally_->tokens += static_cast<int>(output.token_ids.size());
      tally_->finished += output.finish ? 1 : 0;
    }
    tally_->changed.NotifyAll();
  }
  void OnAccepted(uint64_t) override {}

 private:
  const std::shared_ptr<Tally> tally_;
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    EXPECT_TRUE(model.Allocate(64, 4, 32, 8).ok());
    options.budget = {32, 8};
    options.num_kv_blocks = 64;
    options.kv_block_tokens = 4;
    options.eos_token_ids = {2};
    options.step_deadline = std::chrono::seconds(5);
  }

  static std::vector<Request> Requests(int count, int max_tokens) {
    std::vector<Request> requests(count);
    for (int i = 0; i < count; ++i) {
      requests[i].sequence_id = static_cast<uint64_t>(i + 1);
      requests[i].prompt_token_ids = {3, 4, 5};
      requests[i].stop.max_tokens = max_tokens;
      requests[i].stop.ignore_eos = true;
    }
    return requests;
  }

  testing::FakeModel model;
  testing::FakeClock clock;
  EngineOptions options;
  std::shared_ptr<Tally> tally = std::make_shared<Tally>();
};

TEST_F(EngineTest, AnswersFromItsOwnThreadAndGoesIdle) {
  Engine engine(&model, &clock, options, nullptr);
  EXPECT_TRUE(engine.idle());
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  engine.Submit(session, Requests(20, 5));
  ASSERT_TRUE(tally->WaitFinished(20));
  EXPECT_TRUE(testing::WaitFor([&] { return engine.idle(); }));
  EXPECT_GT(engine.steps(), 0u);
  EXPECT_TRUE(engine.Healthy().ok());
}

TEST_F(EngineTest, ManyThreadsMaySubmitCancelAndClose) {
  Engine engine(&model, &clock, options, nullptr);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        auto own = std::make_shared<Tally>();
        const SessionId session = engine.OpenSession(std::make_unique<TallySink>(own));
        engine.Submit(session, Requests(4, 6));
        if (round % 3 == 0) engine.Cancel(session, {1, 3});
        if ((round + t) % 4 != 0) {
          EXPECT_TRUE(own->WaitFinished(4));
        }
        engine.CloseSession(session);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(testing::WaitFor([&] { return engine.idle(); }));
}

TEST_F(EngineTest, AStepBeyondItsDeadlineIsUnhealthy) {
  Engine engine(&model, &clock, options, nullptr);
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  // Time alone is no reason while there is nothing to do.
  EXPECT_TRUE(testing::WaitFor([&] { return engine.idle(); }));
  clock.Advance(std::chrono::hours(1));
  EXPECT_TRUE(engine.Healthy().ok());
  model.Stall();
  engine.Submit(session, Requests(1, 5));
  model.WaitUntilStalled();
  clock.Advance(std::chrono::seconds(4));
  EXPECT_TRUE(engine.Healthy().ok());
  clock.Advance(std::chrono::seconds(2));
  const absl::Status status = engine.Healthy();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.ToString().find("expected one within 5000 ms; unfinished: stalled"),
            std::string::npos)
      << status;
  model.Release();
  ASSERT_TRUE(tally->WaitFinished(1));
  EXPECT_TRUE(testing::WaitFor([&] { return engine.Healthy().ok(); }));
}

TEST_F(EngineTest, StepsThatKeepFailingAreUnhealthy) {
  Engine engine(&model, &clock, options, nullptr);
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  model.FailForward(3, "lost");
  for (int i = 0; i < 3; ++i) {
    engine.Submit(session, Requests(1, 5));
    ASSERT_TRUE(tally->WaitFinished(i + 1));
    EXPECT_TRUE(testing::WaitFor([&] { return engine.idle(); }));
  }
  EXPECT_FALSE(engine.Healthy().ok());
}

TEST_F(EngineTest, ALostDeviceIsUnhealthyAtOnceAndSaysWhy) {
  Engine engine(&model, &clock, options, nullptr);
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  model.LoseDevice("CUDA error at a kernel");
  engine.Submit(session, Requests(3, 5));
  ASSERT_TRUE(tally->WaitFinished(3));
  EXPECT_TRUE(testing::WaitFor([&] { return !engine.Healthy().ok(); }));
  EXPECT_EQ(engine.Healthy(), absl::DataLossError("CUDA error at a kernel"));
  // The thread lives on and gives back what comes.
  engine.Submit(session, Requests(2, 5));
  EXPECT_TRUE(tally->WaitFinished(5));
  EXPECT_TRUE(testing::WaitFor([&] { return engine.idle(); }));
}

TEST_F(EngineTest, AStepThatThrowsIsUnhealthy) {
  Engine engine(&model, &clock, options, nullptr);
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  model.ThrowOnForward();
  engine.Submit(session, Requests(1, 5));
  EXPECT_TRUE(testing::WaitFor([&] { return !engine.Healthy().ok(); }));
}

TEST_F(EngineTest, EndsWithWorkInProgress) {
  Engine engine(&model, &clock, options, nullptr);
  const SessionId session = engine.OpenSession(std::make_unique<TallySink>(tally));
  engine.Submit(session, Requests(20, 50));
}

}  // namespace
}  // namespace pingti::worker
