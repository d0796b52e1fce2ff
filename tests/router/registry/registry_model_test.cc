// Random events of workers and of this router against books that are kept the simplest way: every
// figure is counted anew from what is booked.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "router/registry/worker_registry.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

struct CancelledIds final : WorkerChannel {
  void Submit(std::vector<Sequence>) override {}
  void Cancel(uint64_t id) override { ids.push_back(id); }
  std::vector<uint64_t> ids;
};

struct Heard final : SequenceHandler {
  void OnPlaced(const SequencePlace&) override {}
  void OnOutput(SequenceOutput output) override {
    ++outputs;
    ended |= output.finish.has_value();
  }
  void OnLost(const absl::Status&) override { ++lost; }
  void OnQueueTimeout() override {}
  int outputs = 0;
  int lost = 0;
  bool ended = false;
};

struct Booked {
  uint32_t uncached = 0;
  bool started = false;
  int outputs = 0;
  std::shared_ptr<Heard> handler;
};

struct NaiveWorker {
  LinkId link = 0;
  std::shared_ptr<CancelledIds> channel;
  WorkerState state = WorkerState::kConnecting;
  WorkerKey key = 0;
  uint32_t credit_sequences = 0;
  uint32_t credit_tokens = 0;
  uint64_t reported = 0;
  uint32_t running = 0;  // of the report, less those that ended since
  std::map<uint64_t, Booked> bookings;
  std::vector<uint64_t> cancelled;

  uint32_t Waiting() const {
    return static_cast<uint32_t>(std::count_if(
        bookings.begin(), bookings.end(), [](const auto& one) { return !one.second.started; }));
  }
  uint64_t WaitingTokens(uint64_t after) const {
    uint64_t sum = 0;
    for (const auto& [id, booking] : bookings) {
      if (id > after && !booking.started) sum += booking.uncached;
    }
    return sum;
  }
  bool HasCredit(uint32_t tokens) const {
    if (Waiting() == 0) return true;
    // Of a credit that was cut below what waits nothing is left; a prompt that is all cached needs
    // nothing.
    const uint64_t left = credit_tokens - std::min<uint64_t>(WaitingTokens(0), credit_tokens);
    return Waiting() < credit_sequences && tokens <= left;
  }
};

class RegistryModel : public ::testing::Test {
 public:
  RegistryModel() {
    registry_.Connect(
        [this](LinkId id, const std::string& address) {
          naive_[address].link = id;
          return naive_[address].channel = std::make_shared<CancelledIds>();
        },
        [this] { ++capacity_; });
    registry_.SetAddresses({"a", "b", "c"});
    model_ = std::make_shared<ServedModel>();
    model_->fingerprint = "f";
  }

  NaiveWorker& AnyWorker() { return std::next(naive_.begin(), Draw(3))->second; }
  // Of 0 to below `limit`.
  int Draw(int limit) { return static_cast<int>(random_() % static_cast<uint64_t>(limit)); }
  uint64_t AnyId(const NaiveWorker& worker) {
    return std::next(worker.bookings.begin(), Draw(static_cast<int>(worker.bookings.size())))
        ->first;
  }

  void Ready(NaiveWorker* worker) {
    if (worker->state != WorkerState::kConnecting && worker->state != WorkerState::kDead) return;
    WorkerInfo info;
    info.model = model_;
    info.credit_sequences = 1 + static_cast<uint32_t>(Draw(4));
    info.credit_tokens = 50 + static_cast<uint32_t>(Draw(100));
    registry_.OnReady(worker->link, info);
    worker->state = WorkerState::kReady;
    worker->credit_sequences = info.credit_sequences;
    worker->credit_tokens = info.credit_tokens;
    worker->reported = 0;
    worker->running = 0;
    worker->key = ++sessions_;
    Expect(1);
  }
  void Book(NaiveWorker* worker) {
    const auto tokens = static_cast<uint32_t>(Draw(60));
    const auto cached = static_cast<uint32_t>(Draw(80));
    const auto handler = std::make_shared<Heard>();
    const auto booked = registry_.Book(worker->key, tokens, handler, cached);
    ASSERT_EQ(booked.channel != nullptr, worker->state == WorkerState::kReady);
    if (booked.channel == nullptr) return;
    EXPECT_GT(booked.place.sequence_id, last_id_) << "ids ascend";
    last_id_ = booked.place.sequence_id;
    worker->bookings[last_id_] = {tokens - std::min(cached, tokens), false, 0, handler};
    Expect(0);
  }
  void Output(NaiveWorker* worker) {
    if (worker->bookings.empty()) return;
    const uint64_t id = AnyId(*worker);
    Booked& booking = worker->bookings.at(id);
    SequenceOutput output;
    output.sequence_id = id;
    output.token_ids = {1};
    const bool ends = Draw(2) == 0;
    if (ends) output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
    registry_.OnStepOutput(worker->link, {{std::move(output)}});
    const bool news = ends || !booking.started;
    booking.started = true;
    EXPECT_EQ(booking.handler->outputs, ++booking.outputs);
    EXPECT_EQ(booking.handler->ended, ends);
    if (ends) Forget(worker, id);
    Expect(news ? 1 : 0);
  }
  // What never was, or is no more.
  void StrangeOutput(NaiveWorker* worker) {
    SequenceOutput output;
    output.sequence_id = last_id_ + 1000;
    const bool ends = Draw(2) == 0;
    if (ends) output.finish = Finish{Finish::Reason::kMaxTokens, 0, {}};
    registry_.OnStepOutput(worker->link, {{std::move(output)}});
    if (!ends) worker->cancelled.push_back(last_id_ + 1000);
    Expect(0);
  }
  void Cancel(NaiveWorker* worker) {
    registry_.Cancel(worker->key, last_id_ + 1000);
    if (worker->bookings.empty()) return Expect(0);
    const uint64_t id = AnyId(*worker);
    const auto handler = worker->bookings.at(id).handler;
    const int before = handler->outputs;
    registry_.Cancel(worker->key, id);
    EXPECT_EQ(handler->outputs, before);
    Forget(worker, id);
    worker->cancelled.push_back(id);
    Expect(1);
  }
  void Report(NaiveWorker* worker) {
    LoadReport report;
    report.running_sequences = static_cast<uint32_t>(Draw(5));
    report.waiting_sequences = 7;
    report.waiting_uncached_tokens = 70;
    report.kv_total_blocks = 10;
    report.kv_leased_blocks = 5;
    report.prefill_tokens_per_s = 123;
    report.step_ms = 4;
    report.includes_sequence_id = worker->bookings.empty() ? last_id_ : AnyId(*worker);
    registry_.OnLoadReport(worker->link, report);
    worker->reported = report.includes_sequence_id;
    worker->running = report.running_sequences;
    Expect(0);
  }
  void Credit(NaiveWorker* worker) {
    worker->credit_sequences = static_cast<uint32_t>(Draw(5));
    worker->credit_tokens = static_cast<uint32_t>(Draw(150));
    registry_.OnSubmitCredit(worker->link, {worker->credit_sequences, worker->credit_tokens});
    Expect(1);
  }
  void Drain(NaiveWorker* worker) {
    registry_.OnDraining(worker->link);
    if (worker->state == WorkerState::kReady) worker->state = WorkerState::kDraining;
    Expect(0);
  }
  void Lose(NaiveWorker* worker) {
    registry_.OnLost(worker->link, absl::UnavailableError("lost"));
    for (const auto& [id, booking] : worker->bookings) EXPECT_EQ(booking.handler->lost, 1);
    Expect(worker->bookings.empty() ? 0 : 1);
    worker->bookings.clear();
    worker->state = WorkerState::kDead;
    worker->key = 0;
  }

  static void Forget(NaiveWorker* worker, uint64_t id) {
    if (id <= worker->reported && worker->running > 0) --worker->running;
    worker->bookings.erase(id);
  }
  // How often the listener was told of room since the last time.
  void Expect(int told) {
    EXPECT_EQ(capacity_, told);
    capacity_ = 0;
  }

  void CheckCandidates() {
    const auto tokens = static_cast<uint32_t>(Draw(120));
    const std::vector<WorkerLoad> loads = registry_.Candidates("f", tokens, {});
    std::map<WorkerKey, const NaiveWorker*> ready;
    bool any_credit = false;
    for (const auto& [address, worker] : naive_) {
      if (worker.state != WorkerState::kReady) continue;
      ready[worker.key] = &worker;
      any_credit |= worker.HasCredit(tokens);
    }
    ASSERT_EQ(loads.size(), any_credit ? ready.size() : 0);
    for (const WorkerLoad& load : loads) {
      const NaiveWorker& worker = *ready.at(load.worker);
      EXPECT_EQ(load.has_credit, worker.HasCredit(tokens));
      EXPECT_EQ(load.running_sequences, worker.running);
      const auto sent =
          std::count_if(worker.bookings.begin(), worker.bookings.end(),
                        [&](const auto& booking) { return booking.first > worker.reported; });
      EXPECT_EQ(load.sent_sequences, sent);
      EXPECT_EQ(load.sent_tokens, worker.WaitingTokens(worker.reported));
      if (worker.reported == 0) continue;
      EXPECT_EQ(load.waiting_sequences, 7u);
      EXPECT_EQ(load.waiting_uncached_tokens, 70u);
      EXPECT_EQ(load.kv_used_fraction, 0.5);
      EXPECT_EQ(load.prefill_tokens_per_s, 123);
      EXPECT_EQ(load.step_ms, 4);
    }
  }
  void CheckStatus() {
    uint32_t num_ready = 0;
    for (const WorkerStatus& status : registry_.Workers()) {
      const NaiveWorker& worker = naive_.at(status.address);
      EXPECT_EQ(status.state, worker.state) << WorkerStateName(status.state);
      EXPECT_EQ(status.booked_sequences, worker.bookings.size());
      EXPECT_EQ(worker.channel->ids, worker.cancelled);
      num_ready += worker.state == WorkerState::kReady ? 1 : 0;
    }
    EXPECT_EQ(registry_.num_ready(), num_ready);
    EXPECT_EQ(registry_.HasReadyWorker("f"), num_ready > 0);
  }

  std::mt19937_64 random_{27};
  testing::FakeClock clock_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  int capacity_ = 0;
  uint64_t sessions_ = 0;
  uint64_t last_id_ = 0;
  std::map<std::string, NaiveWorker> naive_;
  std::shared_ptr<ServedModel> model_;
  WorkerRegistry registry_{{.failures_to_open = 1'000'000}, &clock_, &metrics_};
};

TEST_F(RegistryModel, BooksAreWhatIsBooked) {
  using Event = void (RegistryModel::*)(NaiveWorker*);
  const std::vector<Event> often = {&RegistryModel::Book, &RegistryModel::Book,
                                    &RegistryModel::Output, &RegistryModel::Output};
  const std::vector<Event> all = {&RegistryModel::Ready,  &RegistryModel::StrangeOutput,
                                  &RegistryModel::Cancel, &RegistryModel::Report,
                                  &RegistryModel::Credit, &RegistryModel::Drain,
                                  &RegistryModel::Lose,   &RegistryModel::Ready};
  for (auto& [address, worker] : naive_) Ready(&worker);
  for (int i = 0; i < 4000 && !HasFailure(); ++i) {
    SCOPED_TRACE(i);
    NaiveWorker* const worker = &AnyWorker();
    const bool rarely = Draw(4) == 0;
    const auto& events = rarely ? all : often;
    const Event event = events[static_cast<size_t>(Draw(static_cast<int>(events.size())))];
    // Ends of sessions would else leave no time for anything.
    const bool ends = event == &RegistryModel::Lose || event == &RegistryModel::Drain;
    if (ends && Draw(6) != 0) continue;
    (this->*event)(worker);
    CheckCandidates();
    CheckStatus();
  }
}

}  // namespace
}  // namespace pingti::router
