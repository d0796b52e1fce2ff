// What tests of the engine's parts share: a request with a scheduler and a session around it, and
// no model.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "tests/worker/engine/engine_testing.h"
#include "worker/engine/request_finisher.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

struct PartsHarness {
  static constexpr SessionId kSession = 1;
  static constexpr int32_t kVocab = 64;
  static constexpr int32_t kBlockTokens = 4;

  explicit PartsHarness(StepBudget budget = {64, 8, 64})
      : cache(64, kBlockTokens), scheduler(&cache, budget), finisher(&scheduler, &outputs, &stats) {
    outputs.Open(kSession, std::make_unique<CollectingSink>(&out));
    limits.vocab_size = kVocab;
    limits.max_context_tokens = 200;
    limits.max_batch_size = budget.max_sequences;
    limits.eos_token_ids = {kEos};
  }
  ~PartsHarness() {
    for (auto& group : groups) {
      for (auto& sample : group->samples) scheduler.Remove(&sample->sequence);
    }
  }

  RequestGroup* Add(Request request) {
    groups.push_back(std::make_unique<RequestGroup>(std::move(request), kSession, groups.size(),
                                                    limits, kBlockTokens));
    scheduler.Add(&groups.back()->samples[0]->sequence);
    return groups.back().get();
  }
  // Plans and applies a step; what was computed is not committed yet.
  const StepPlan& Plan() {
    scheduler.Plan(TimePoint(std::chrono::seconds(1)), &plan);
    copies.clear();
    scheduler.Apply(plan, &copies);
    return plan;
  }
  // The outputs so far.
  Collected& Publish(uint64_t id, int32_t sample = 0) {
    outputs.Publish(1);
    return out[{id, sample}];
  }

  CollectedMap out;
  RequestLimits limits;
  PrefixCache cache;
  Scheduler scheduler;
  StepStats stats;
  SessionOutputs outputs;
  RequestFinisher finisher;
  StepPlan plan;
  std::vector<PlannedCopy> copies;
  std::vector<std::unique_ptr<RequestGroup>> groups;
};

}  // namespace pingti::worker
