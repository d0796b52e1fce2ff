// A hostile router: any session messages into an engine with a fake model, with steps in between.
// No crash, no leak, the engine's books stay right, and a sequence of another session gets all of
// its tokens.
#include <fuzzer/FuzzedDataProvider.h>

#include <memory>
#include <string>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "worker/engine/engine_core.h"
#include "worker/server/convert.h"

namespace pingti::worker {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

constexpr SessionId kHostile = 1;
constexpr SessionId kOther = 2;
constexpr int32_t kOthersTokens = 20;

// Counts the tokens of a session.
class Counter final : public SessionSink {
 public:
  explicit Counter(int32_t* tokens) : tokens_(tokens) {}
  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    for (const SequenceOutput& output : outputs) {
      *tokens_ += static_cast<int32_t>(output.token_ids.size());
    }
  }
  void OnAccepted(uint64_t) override {}

 private:
  int32_t* const tokens_;
};

void Take(const v1::SessionRequest& request, TimePoint now, EngineCore* core) {
  for (const v1::Sequence& sequence : request.submit().sequences()) {
    core->Submit(kHostile, FromProto(sequence, now));
  }
  const auto& ids = request.cancel().sequence_ids();
  core->Cancel(kHostile, std::vector<uint64_t>(ids.begin(), ids.end()));
}

void Run(FuzzedDataProvider* input) {
  testing::FakeClock clock;
  testing::FakeModel model;
  EngineOptions options;
  options.budget = {.max_tokens = 32, .max_sequences = 8};
  options.num_kv_blocks = 64;
  options.kv_block_tokens = 4;
  options.max_waiting_sequences = 16;
  options.eos_token_ids = {2};
  Require(model.Allocate(options.num_kv_blocks, options.kv_block_tokens, 32, 8).ok());
  EngineCore core(&model, &clock, options, nullptr);
  int32_t hostile_tokens = 0;
  int32_t other_tokens = 0;
  core.OpenSession(kHostile, std::make_unique<Counter>(&hostile_tokens));
  core.OpenSession(kOther, std::make_unique<Counter>(&other_tokens));
  Request other;
  other.sequence_id = 1;
  other.prompt_token_ids = {3, 4, 5};
  other.stop.max_tokens = kOthersTokens;
  other.stop.ignore_eos = true;
  // Not to be preempted for ever by priorities that a router may well give.
  other.priority = INT32_MAX;
  core.Submit(kOther, std::move(other));
  while (input->remaining_bytes() > 0) {
    const std::string bytes = input->ConsumeRandomLengthString(512);
    v1::SessionRequest request;
    if (request.ParseFromString(bytes)) Take(request, clock.Now(), &core);
    for (int steps = input->ConsumeIntegralInRange(0, 3); steps > 0; --steps) {
      core.Step();
      Require(core.CheckInvariants().ok());
      clock.Advance(std::chrono::milliseconds(1));
    }
  }
  for (int step = 0; step < 10'000 && other_tokens < kOthersTokens; ++step) core.Step();
  Require(other_tokens == kOthersTokens);
  core.CloseSession(kHostile);
  core.Step();
  Require(core.CheckInvariants().ok() && !core.has_work());
}

}  // namespace
}  // namespace pingti::worker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  pingti::worker::Run(&input);
  return 0;
}
