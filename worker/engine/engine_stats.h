// What the engine tells of its steps: for load reports, metrics and tests. Plain data, and the
// interface of who watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "worker/cache/prefix_cache.h"
#include "worker/engine/request.h"

namespace pingti::worker {

// Per sample and step: decode attention takes a drawn token and so many more at once.
inline constexpr int32_t kMaxDrafts = 7;

// The engine's state after a step.
struct LoadSnapshot {
  uint64_t step = 0;
  int32_t running_sequences = 0;
  int32_t waiting_sequences = 0;
  int64_t waiting_uncached_tokens = 0;
  int32_t kv_total_blocks = 0;
  int32_t kv_leased_blocks = 0;
  int32_t kv_cached_blocks = 0;
  double prefill_tokens_per_s = 0.0;  // over recent steps that had any
  double decode_tokens_per_s = 0.0;
  double step_ms = 0.0;
  int64_t preemptions_total = 0;
};

// What one step did.
struct StepStats {
  std::chrono::nanoseconds duration{0};
  int32_t num_sequences = 0;
  int32_t num_tokens = 0;
  int32_t num_decode_tokens = 0;  // of num_tokens; drafts included
  // Samples that had drafts checked, by how many of them stood.
  int32_t accepted_lengths[kMaxDrafts + 1] = {};
  int32_t num_drafts = 0;  // of num_decode_tokens: proposed and checked, not drawn
  int32_t num_accepted_drafts = 0;
  int64_t num_read_for_drafts = 0;         // by the source of drafts, in this step or before it
  std::chrono::nanoseconds draft_time{0};  // of duration: until drafts were proposed
  int32_t admitted_prompt_tokens = 0;
  int32_t admitted_cached_tokens = 0;
  int32_t output_tokens = 0;
  // See Model::TakeExpertImbalance; set by a few steps alone.
  std::optional<double> expert_imbalance;
  int32_t adapter_slot_loads = 0;
  int32_t adapter_evictions = 0;
  int32_t finished[kNumFinishReasons] = {};
};

// Watches the engine. Called on the engine thread at the end of each step; must not block.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStepEnd(const StepStats& stats, const LoadSnapshot& load) = 0;
  virtual void OnCacheEvents(std::span<const CacheEvent> events) = 0;
};

}  // namespace pingti::worker
