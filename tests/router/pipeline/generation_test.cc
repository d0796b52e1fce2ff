// Generations over scripted workers on threads of their own, without gRPC: what the thread
// sanitizer can see whole. Workers run a few tokens, then hand back, lose everything or go on, at
// random.
#include "router/pipeline/generation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/base/strings.h"
#include "router/observer/metrics_watcher.h"
#include "router/pipeline/inference_service.h"
#include "router/policy/choose_policy.h"
#include "router/queue/choose_order.h"
#include "tests/router/pipeline/byte_tokenizer.h"
#include "tests/testing/await.h"

namespace pingti::router {
namespace {

// What the "model" says: a function of the prompt's first token alone.
std::string Text(uint32_t first_token) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += Concat(first_token, ":", i, " ");
  return text;
}

// One worker: takes sequences on any thread, runs them on its own.
class ScriptedWorker final : public WorkerChannel {
 public:
  ScriptedWorker(LinkId link, WorkerRegistry* registry, std::shared_ptr<const ServedModel> model)
      : link_(link), registry_(registry), model_(std::move(model)), random_(link), thread_([this] {
          Run();
        }) {}
  ~ScriptedWorker() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  void Submit(std::vector<Sequence> sequences) override {
    std::lock_guard lock(mutex_);
    for (Sequence& sequence : sequences) arrived_.push_back(std::move(sequence));
    changed_.notify_all();
  }
  void Cancel(uint64_t sequence_id) override {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(sequence_id);
  }

 private:
  struct Running {
    std::string text;
    size_t next;
  };

  void Announce() {
    WorkerInfo info;
    info.worker_id = Concat("w", link_);
    info.model = model_;
    info.max_batch_size = 8;
    info.credit_sequences = 4;
    info.credit_tokens = 1000;
    registry_->OnReady(link_, info);
  }

  bool TakeArrived() {
    std::unique_lock lock(mutex_);
    while (!stopping_ && arrived_.empty() && running_.empty()) changed_.wait(lock);
    for (; !arrived_.empty(); arrived_.pop_front()) {
      const Sequence& sequence = arrived_.front();
      running_[sequence.sequence_id] = {Text(sequence.prompt_token_ids[0]),
                                        sequence.generated_token_ids.size()};
    }
    for (const uint64_t id : cancelled_) running_.erase(id);
    cancelled_.clear();
    return !stopping_;
  }

  void Step() {
    StepOutput step;
    for (auto it = running_.begin(); it != running_.end();) {
      SequenceOutput& output = step.outputs.emplace_back();
      output.sequence_id = it->first;
      Running& running = it->second;
      output.token_ids.push_back(static_cast<uint8_t>(running.text[running.next++]));
      if (running.next == running.text.size()) {
        output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
      } else if (random_() % 400 == 0) {
        output.finish = Finish{Finish::Reason::kPreempted, 0, {}};
      }
      it = output.finish.has_value() ? running_.erase(it) : std::next(it);
    }
    registry_->OnStepOutput(link_, std::move(step));
  }

  void Run() {
    Announce();
    while (TakeArrived()) {
      Step();
      if (random_() % 300 != 0) continue;
      running_.clear();
      registry_->OnLost(link_, absl::UnavailableError("scripted"));
      {
        // What was sent to the old session is gone with it.
        std::lock_guard lock(mutex_);
        arrived_.clear();
      }
      Announce();
    }
  }

  const LinkId link_;
  WorkerRegistry* const registry_;
  const std::shared_ptr<const ServedModel> model_;
  std::minstd_rand random_;              // own thread
  std::map<uint64_t, Running> running_;  // own thread

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sequence> arrived_;
  std::vector<uint64_t> cancelled_;
  bool stopping_ = false;
  std::thread thread_;
};

class CollectingSink final : public ResponseSink {
 public:
  CollectingSink(size_t num_choices, std::function<void()> ended)
      : texts_(num_choices), ended_(std::move(ended)) {}

  bool OnDelta(ChoiceDelta delta) override {
    texts_[delta.index] += delta.content;
    return true;
  }
  void OnDone(const UsageCounts& usage) override {
    usage_ = usage;
    ended_();
  }
  void OnError(const absl::Status& status) override {
    status_ = status;
    ended_();
  }
  void OnKeepAlive() override {}

  // After the end.
  std::vector<std::string> texts_;
  UsageCounts usage_;
  absl::Status status_;

 private:
  std::function<void()> ended_;
};

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    auto model = std::make_shared<ServedModel>();
    model->id = "m";
    model->fingerprint = "f";
    model->max_context_tokens = 10'000;
    model->vocab_size = 256;
    model->tokenizer = std::make_shared<ByteTokenizer>();
    registry_.Connect(
        [this, model](LinkId link, const std::string&) {
          return std::make_shared<ScriptedWorker>(link, &registry_, model);
        },
        [this] { dispatcher_.Pump(); });
    registry_.SetAddresses({"a", "b", "c"});
    testing::AwaitOrDie([this] { return registry_.num_ready() == 3; }, "three workers to be ready");
  }
  ~GenerationTest() override { registry_.CloseAll(); }

  std::shared_ptr<CollectingSink> Start(uint32_t first_token, uint32_t n) {
    GenerationRequest request;
    request.kind = GenerationRequest::Kind::kCompletion;
    request.id = "cmpl-test";
    request.model = "m";
    request.prompts = {std::vector<uint32_t>{first_token, 1, 2}};
    request.params.n = n;
    request.params.max_tokens = 9000;
    {
      std::lock_guard lock(mutex_);
      ++running_;
    }
    auto sink = std::make_shared<CollectingSink>(n, [this] {
      std::lock_guard lock(mutex_);
      --running_;
      ended_.notify_all();
    });
    service_.Start(std::move(request), service_.Received({.endpoint = "test"}), sink,
                   std::make_shared<ClientWatch>());
    return sink;
  }
  void WaitAll() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(ended_.wait_for(lock, testing::kPatience, [this] { return running_ == 0; }))
        << running_ << " requests have not ended";
  }

  const Clock* clock_ = RealClock();
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  AdmissionController admission_{{}, clock_};
  // The scripted workers fail often: no breaker and no bound on attempts gets in their way.
  WorkerRegistry registry_{{.failures_to_open = 1'000'000}, clock_, &metrics_};
  Dispatcher dispatcher_{&registry_, *MakePolicy("least_loaded"), *MakeQueueOrder("fair"), clock_};
  TaskPool pool_{1, 16};
  MetricsWatcher watcher_{&metrics_};
  GenerationContext context_{
      {.max_attempts = 1000}, &dispatcher_, &admission_, &pool_, clock_, OsEntropy(), {&watcher_}};
  InferenceService service_{&context_, &registry_};
  std::mutex mutex_;
  std::condition_variable ended_;
  int running_ = 0;
};

TEST_F(GenerationTest, NoTokenIsLostOrDoubledWhateverWorkersDo) {
  constexpr int kThreads = 4;
  constexpr uint32_t kRequests = 30;
  std::vector<std::vector<std::shared_ptr<CollectingSink>>> sinks(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kRequests; ++i) sinks[t].push_back(Start(i, 1 + i % 3));
    });
  }
  for (std::thread& thread : threads) thread.join();
  WaitAll();
  size_t answered = 0;
  for (const auto& of_thread : sinks) {
    for (uint32_t i = 0; i < kRequests; ++i) {
      const CollectingSink& sink = *of_thread[i];
      // A moment with all three away is told as 503; it must not be told as text.
      if (!sink.status_.ok()) {
        EXPECT_TRUE(absl::IsUnavailable(sink.status_)) << sink.status_;
        continue;
      }
      ++answered;
      for (const std::string& text : sink.texts_) EXPECT_EQ(text, Text(i));
      EXPECT_EQ(sink.usage_.completion_tokens, sink.texts_.size() * Text(i).size());
    }
  }
  EXPECT_GT(answered, kThreads * kRequests / 2);
  EXPECT_GT(metrics_.resumed_sequences.Value(), 0);
  EXPECT_EQ(admission_.concurrent_sequences(), 0u);
  EXPECT_EQ(dispatcher_.queued(), 0u);
  for (const WorkerStatus& worker : registry_.Workers()) EXPECT_EQ(worker.booked_sequences, 0u);
}

TEST_F(GenerationTest, CancelAtAnyMomentLeavesNothingBehind) {
  std::minstd_rand random(7);
  for (uint32_t i = 0; i < 100; ++i) {
    GenerationRequest request;
    request.kind = GenerationRequest::Kind::kCompletion;
    request.model = "m";
    request.prompts = {std::vector<uint32_t>{i, 1, 2}};
    request.params.n = 2;
    {
      std::lock_guard lock(mutex_);
      ++running_;
    }
    auto sink = std::make_shared<CollectingSink>(2, [this] {
      std::lock_guard lock(mutex_);
      --running_;
      ended_.notify_all();
    });
    const auto client = std::make_shared<ClientWatch>();
    service_.Start(std::move(request), service_.Received({.endpoint = "test"}), sink, client);
    // Not by yields, which take long beside other work.
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 500);
    while (std::chrono::steady_clock::now() < until) {
    }
    client->OnGone();
  }
  WaitAll();
  EXPECT_EQ(admission_.concurrent_sequences(), 0u);
  EXPECT_EQ(dispatcher_.queued(), 0u);
  for (const WorkerStatus& worker : registry_.Workers()) EXPECT_EQ(worker.booked_sequences, 0u);
}

}  // namespace
}  // namespace pingti::router
