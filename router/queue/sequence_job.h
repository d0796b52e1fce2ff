// One sequence on its way to a worker.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "router/registry/sequence_handler.h"
#include "router/worker_link/messages.h"

namespace pingti::router {

struct SequenceJob {
  // An answer's tokens are not known before: it counts as its max_tokens, and never as more than
  // this, which is also what an answer without max_tokens counts as.
  static constexpr uint32_t kMostExpectedAnswer = 256;

  uint64_t id = 0;
  std::string fingerprint;  // the model build that must run it
  std::string line;         // who takes turns with others, see GenerationRequest::line
  double weight = 1;        // of that line's turns
  Sequence sequence;
  // Shared: whoever holds the job may have to answer it while the request it belongs to is going
  // away.
  std::shared_ptr<SequenceHandler> handler;
  std::vector<WorkerKey> excluded_workers;  // those that failed it before
  int32_t priority = 0;
  bool resumed = false;         // its client already reads: it goes before new ones of its priority
  uint32_t tokens = 0;          // to prefill
  uint32_t context_tokens = 0;  // prompt and output that the worker's context must hold
  std::span<const uint64_t> block_hashes;  // of the prompt; the handler keeps them
  std::string_view affinity_hint;          // the handler keeps it, too
  std::chrono::steady_clock::time_point queued_at{};
  std::chrono::steady_clock::time_point give_up_at;

  // Sequences that a worker makes of it.
  uint32_t width() const { return sequence.sampling.beam.num_beams; }
  // Tokens that count for the answer until it is there.
  uint32_t expected_answer() const {
    const uint32_t limit = sequence.stop.max_tokens;
    return width() * (limit == 0 ? kMostExpectedAnswer : std::min(limit, kMostExpectedAnswer));
  }
};

}  // namespace pingti::router
