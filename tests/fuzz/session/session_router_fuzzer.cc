// A hostile worker: any session messages into the registry, beside a worker that behaves. No crash,
// no leak; a sequence gets no more than it may and nothing after its end; the worker that behaves
// keeps its books.
#include <fuzzer/FuzzedDataProvider.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "router/registry/worker_registry.h"
#include "router/worker_link/wire.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

constexpr uint32_t kVocab = 100;
constexpr uint32_t kMostOutput = 10;
constexpr int kSequences = 4;

class Channel final : public WorkerChannel {
 public:
  void Submit(std::vector<Sequence>) override {}
  void Cancel(uint64_t) override {}
};

class Handler final : public SequenceHandler {
 public:
  void OnPlaced(const SequencePlace&) override {}
  void OnOutput(SequenceOutput output) override {
    Require(!ended_);
    tokens_ += output.token_ids.size();
    Require(tokens_ <= kMostOutput);
    Require(output.logprobs.size() <= output.token_ids.size());
    for (const uint32_t id : output.token_ids) Require(id < kVocab);
    ended_ = output.finish.has_value();
  }
  void OnLost(const absl::Status&) override {
    Require(!ended_);
    ended_ = true;
  }
  void OnQueueTimeout() override {}

 private:
  size_t tokens_ = 0;
  bool ended_ = false;
};

class Workers {
 public:
  Workers() {
    registry_.Connect(
        [this](LinkId link, const std::string&) {
          links_.push_back(link);
          return std::make_shared<Channel>();
        },
        [] {});
    registry_.SetAddresses({"hostile", "other"});
    auto model = std::make_shared<ServedModel>();
    model->id = model->fingerprint = "m";
    model->kv_block_tokens = 16;
    model->vocab_size = kVocab;
    model->max_context_tokens = 1'000;
    for (const LinkId link : links_) {
      WorkerInfo info;
      info.model = model;
      info.credit_sequences = info.credit_tokens = 100;
      info.kv_total_blocks = 100;
      registry_.OnReady(link, info);
    }
    for (const WorkerKey key : {1, 2}) {
      for (int i = 0; i < kSequences; ++i) {
        Require(
            registry_.Book(key, 20, std::make_shared<Handler>(), 0, hashes_, kMostOutput).channel !=
            nullptr);
      }
    }
  }

  void Say(worker::v1::SessionResponse* response) {
    const LinkId hostile = links_.front();
    if (response->has_step_output()) {
      registry_.OnStepOutput(hostile, FromWire(response->mutable_step_output()));
    }
    if (response->has_load_report()) {
      registry_.OnLoadReport(hostile, FromWire(response->load_report()));
    }
    if (response->has_submit_credit()) {
      registry_.OnSubmitCredit(hostile, FromWire(response->submit_credit()));
    }
    if (response->has_kv_events()) {
      registry_.OnKvEvents(hostile, FromWire(response->kv_events()));
    }
    if (response->has_draining()) registry_.OnDraining(hostile);
    registry_.Candidates("m", 10, {}, hashes_, 30);
  }

  void CheckOther() {
    for (const WorkerStatus& worker : registry_.Workers()) {
      if (worker.address == "other") Require(worker.booked_sequences == kSequences);
    }
    for (const WorkerLoad& load : registry_.Candidates("m", 10, {}, hashes_, 30)) {
      Require(load.kv_used_fraction >= 0 && load.kv_used_fraction <= 1);
      Require(load.step_ms >= 0 && load.prefill_tokens_per_s >= 0);
    }
    registry_.OnLost(links_.front(), absl::UnavailableError("end"));
  }

 private:
  testing::FakeClock clock_;
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_{&metrics_registry_};
  WorkerRegistry registry_{BreakerOptions{}, &clock_, &metrics_};
  std::vector<LinkId> links_;
  const std::vector<uint64_t> hashes_{7, 8, 9};
};

void Run(FuzzedDataProvider* input) {
  Workers workers;
  while (input->remaining_bytes() > 0) {
    const std::string bytes = input->ConsumeRandomLengthString(512);
    worker::v1::SessionResponse response;
    if (response.ParseFromString(bytes)) workers.Say(&response);
  }
  workers.CheckOther();
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  pingti::router::Run(&input);
  return 0;
}
