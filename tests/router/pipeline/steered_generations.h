// Generations over workers whose every word the test says, by a clock that it turns: nothing here
// happens on another thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/pipeline/inference_service.h"
#include "router/policy/choose_policy.h"
#include "router/queue/choose_order.h"
#include "tests/router/pipeline/byte_tokenizer.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {

// Keeps what it is sent.
class SteeredWorker final : public WorkerChannel {
 public:
  void Submit(std::vector<Sequence> sequences) override {
    for (Sequence& sequence : sequences) submitted.push_back(std::move(sequence));
  }
  void Cancel(uint64_t sequence_id) override { cancelled.push_back(sequence_id); }

  LinkId link = 0;
  std::vector<Sequence> submitted;
  std::vector<uint64_t> cancelled;
};

// Keeps what a client would get.
class KeepingSink final : public ResponseSink {
 public:
  bool OnDelta(ChoiceDelta delta) override {
    deltas.push_back(std::move(delta));
    return !client_is_gone;
  }
  void OnDone(const UsageCounts& counts) override { usage = counts; }
  void OnError(const absl::Status& status) override { error = status; }
  void OnKeepAlive() override {
    ++keep_alives;
    if (const auto call = std::exchange(on_keep_alive, nullptr)) call();
  }

  bool ended() const { return usage.has_value() || error.has_value(); }
  std::string Text(uint32_t choice) const {
    std::string text;
    for (const ChoiceDelta& delta : deltas) {
      if (delta.index == choice) text += delta.content;
    }
    return text;
  }

  bool client_is_gone = false;
  std::function<void()> on_keep_alive;  // called once: what it brings about waits in the mailbox
  std::vector<ChoiceDelta> deltas;
  int keep_alives = 0;
  std::optional<UsageCounts> usage;
  std::optional<absl::Status> error;
};

// Calls a function once, when tokens of a generation have come and were not looked at yet: what it
// brings about waits in the generation's mailbox.
class TokenHook final : public RequestWatcher {
 public:
  std::unique_ptr<RequestObserver> OnReceived(const RequestInfo&) override {
    return std::make_unique<Observer>(this);
  }

  std::function<void()> call;
  std::chrono::milliseconds objective{0};  // of the request that had tokens last

 private:
  class Observer final : public RequestObserver {
   public:
    explicit Observer(TokenHook* hook) : hook_(hook) {}
    bool hears_tokens() const override { return true; }
    void OnTokens(const RequestInfo& info, const TokensArrived&) override {
      hook_->objective = info.first_token_objective;
      if (const auto call = std::exchange(hook_->call, nullptr)) call();
    }

   private:
    TokenHook* const hook_;
  };
};

// Two workers, "a" and "b", which serve the model "m" and are taken in turn.
class SteeredGenerations {
 public:
  explicit SteeredGenerations(GenerationOptions options = {}) {
    context_.options = options;
    model_ = std::make_shared<ServedModel>();
    model_->id = "m";
    model_->fingerprint = "f";
    model_->max_context_tokens = 1000;
    model_->vocab_size = 256;
    model_->max_token_bytes = 1;
    model_->tokenizer = std::make_shared<ByteTokenizer>();
    registry_.Connect(
        [this](LinkId link, const std::string& address) {
          auto channel = std::make_shared<SteeredWorker>();
          channel->link = link;
          workers_[address] = channel;
          return channel;
        },
        [this] { dispatcher_.Pump(); });
    registry_.SetAddresses({"a", "b"});
    for (const auto& [address, worker] : workers_) Connect(address);
  }
  ~SteeredGenerations() { registry_.CloseAll(); }

  static GenerationRequest Completion(std::vector<Prompt> prompts) {
    GenerationRequest request;
    request.kind = GenerationRequest::Kind::kCompletion;
    request.id = "cmpl-test";
    request.model = "m";
    request.prompts = std::move(prompts);
    return request;
  }
  std::shared_ptr<KeepingSink> Start(GenerationRequest request) {
    auto sink = std::make_shared<KeepingSink>();
    client_ = std::make_shared<ClientWatch>();
    service_.Start(std::move(request), service_.Received({.endpoint = "test"}), sink, client_);
    return sink;
  }

  // The worker of that address is there, with a session of its own; it serves `model`, or the one
  // that both serve.
  void Connect(const std::string& address, std::shared_ptr<const ServedModel> model = nullptr) {
    WorkerInfo info;
    info.worker_id = address;
    info.model = model == nullptr ? model_ : std::move(model);
    info.max_batch_size = 8;
    info.credit_sequences = 8;
    info.credit_tokens = 1000;
    info.holds_outputs = workers_hold_outputs_;
    registry_.OnReady(workers_.at(address)->link, info);
  }
  // Both workers connect anew, and hold tokens for a sequence's output_interval.
  void HoldOutputs() {
    workers_hold_outputs_ = true;
    for (const auto& [address, worker] : workers_) Connect(address);
  }
  SteeredWorker& worker(const std::string& address) { return *workers_.at(address); }
  // The worker says `text` of a sequence, a token per byte, and how it ends, if it does.
  void Say(const std::string& address, uint64_t sequence_id, std::string_view text,
           std::optional<Finish> finish = std::nullopt) {
    SequenceOutput output;
    output.sequence_id = sequence_id;
    for (const char c : text) output.token_ids.push_back(static_cast<uint8_t>(c));
    output.finish = std::move(finish);
    StepOutput step;
    step.outputs.push_back(std::move(output));
    registry_.OnStepOutput(worker(address).link, std::move(step));
  }
  void Lose(const std::string& address) {
    registry_.OnLost(worker(address).link, absl::UnavailableError("lost"));
  }
  // With the next tokens that come.
  void CallWithTokens(std::function<void()> call) { token_hook_.call = std::move(call); }
  // Within which time the request that had tokens last was to have its first.
  std::chrono::milliseconds Objective() const { return token_hook_.objective; }
  // Who asked last.
  std::shared_ptr<ClientWatch> client() const { return client_; }
  // Who asked last leaves.
  void ClientLeaves() { client_->OnGone(); }
  // Time passes: without the ticker's turn, or with it.
  void AdvanceOnly(std::chrono::milliseconds time) { clock_.Advance(time); }
  void Pass(std::chrono::milliseconds time) {
    clock_.Advance(time);
    service_.Tick();
    dispatcher_.Tick();
  }

  // What the workers serve; may be changed until the first request.
  ServedModel& model() { return *model_; }
  AdmissionController& admission() { return admission_; }
  Dispatcher& dispatcher() { return dispatcher_; }
  WorkerRegistry& registry() { return registry_; }
  InferenceService& service() { return service_; }

 private:
  testing::FakeClock clock_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  AdmissionController admission_{{}, &clock_};
  WorkerRegistry registry_{{}, &clock_, &metrics_};
  Dispatcher dispatcher_{&registry_, *MakePolicy("round_robin"), *MakeQueueOrder("fair"), &clock_};
  TaskPool pool_{1, 16};
  TokenHook token_hook_;
  GenerationContext context_{{},      &dispatcher_, &admission_,   &pool_,
                             &clock_, OsEntropy(),  {&token_hook_}};
  InferenceService service_{&context_, &registry_};
  std::shared_ptr<ServedModel> model_;
  bool workers_hold_outputs_ = false;
  std::map<std::string, std::shared_ptr<SteeredWorker>> workers_;
  std::shared_ptr<ClientWatch> client_;
};

}  // namespace pingti::router
