// What this router knows of how busy one worker is.
#pragma once

#include <cstdint>

#include "router/registry/sequence_handler.h"

namespace pingti::router {

// One worker that may take a sequence now: what it last reported, and what this router has sent
// since, so that a stale report does not draw a whole burst to one worker. The registry keeps it;
// policies read it.
struct WorkerLoad {
  WorkerKey worker = 0;
  // Of its address (common/base/stable_hash.h): equal at all routers and for all of its sessions.
  uint64_t address_hash = 0;
  // Last LoadReport.
  uint32_t running_sequences = 0;
  uint32_t waiting_sequences = 0;
  uint64_t waiting_uncached_tokens = 0;
  double kv_used_fraction = 0;      // [0, 1]
  double prefill_tokens_per_s = 0;  // 0: not known yet
  double step_ms = 0;               // 0: not known yet
  uint32_t max_batch_size = 0;
  bool other_zone = false;  // known to be in another zone than this router
  // Sent since.
  uint32_t sent_sequences = 0;
  uint64_t sent_tokens = 0;
  // How much of the beginning of the prompt that is being placed the worker has cached, as far as
  // this router knows.
  uint64_t cached_prompt_tokens = 0;
  // Whether the prompt may be sent there now.
  bool has_credit = true;

  uint32_t sequences() const { return running_sequences + waiting_sequences + sent_sequences; }
};

}  // namespace pingti::router
