// The serving worker's metric handles, registered together; kWorkerLoading is there before.
// Thread-safe, as each handle is.
#pragma once

#include <string_view>

#include "common/metrics/metrics.h"
#include "common/metrics/registry.h"

namespace pingti::metrics {

struct WorkerMetrics {
  // `model`: the name under which clients know it.
  WorkerMetrics(Registry* registry, std::string_view model)
      : running_sequences(registry->Add(kWorkerRunningSequences).With({model})),
        waiting_sequences(registry->Add(kWorkerWaitingSequences).With({model})),
        kv_blocks(registry->Add(kWorkerKvBlocks).With({model})),
        kv_blocks_leased(registry->Add(kWorkerKvBlocksLeased).With({model})),
        kv_blocks_cached(registry->Add(kWorkerKvBlocksCached).With({model})),
        prompt_tokens(registry->Add(kWorkerPromptTokens)),
        cached_tokens(registry->Add(kWorkerCachedTokens)),
        output_tokens(registry->Add(kWorkerOutputTokens)),
        steps(registry->Add(kWorkerSteps)),
        step_duration_seconds(registry->Add(kWorkerStepDuration)),
        batch_tokens(registry->Add(kWorkerBatchTokens)),
        batch_sequences(registry->Add(kWorkerBatchSequences)),
        drafts(registry->Add(kWorkerDrafts)),
        drafts_accepted(registry->Add(kWorkerDraftsAccepted)),
        drafts_accepted_length(registry->Add(kWorkerDraftsAcceptedLength)),
        draft_reads(registry->Add(kWorkerDraftReads)),
        draft_seconds(registry->Add(kWorkerDraftSeconds)),
        expert_imbalance(registry->Add(kWorkerExpertImbalance).With({model})),
        adapters(registry->Add(kWorkerAdapters)),
        adapter_slot_loads(registry->Add(kWorkerAdapterSlotLoads)),
        adapter_evictions(registry->Add(kWorkerAdapterEvictions)),
        adapters_dropped(registry->Add(kWorkerAdaptersDropped)),
        adapter_load_seconds(registry->Add(kWorkerAdapterLoad)),
        preemptions(registry->Add(kWorkerPreemptions)),
        sequences_finished(registry->Add(kWorkerSequencesFinished)),
        model_load_seconds(registry->Add(kWorkerModelLoad)),
        model_info(registry->Add(kWorkerModelInfo)) {}

  Gauge running_sequences;
  Gauge waiting_sequences;
  Gauge kv_blocks;
  Gauge kv_blocks_leased;
  Gauge kv_blocks_cached;
  Counter prompt_tokens;
  Counter cached_tokens;
  Counter output_tokens;
  Counter steps;
  Histogram step_duration_seconds;
  Histogram batch_tokens;
  Histogram batch_sequences;
  Counter drafts;
  Counter drafts_accepted;
  Histogram drafts_accepted_length;
  Counter draft_reads;
  Counter draft_seconds;
  Gauge expert_imbalance;
  Gauge adapters;
  Counter adapter_slot_loads;
  Counter adapter_evictions;
  Counter adapters_dropped;
  Histogram adapter_load_seconds;
  Counter preemptions;
  Family<Counter, 1> sequences_finished;  // reason
  Gauge model_load_seconds;
  Family<Gauge, 3> model_info;  // model, weights, backend
};

}  // namespace pingti::metrics
