// What the router lets in, as its settings have it: router_config.h fills this.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "router/admission/objectives.h"

namespace pingti::router {

struct AdmissionOptions {
  // Admitted sequences that have no first token yet, and their prompts' tokens.
  size_t max_queued_sequences = 4096;
  uint64_t max_queued_tokens = 8u << 20;
  // A request that would wait longer for its turn, by the rate at which others start, is refused;
  // 0: none is.
  std::chrono::milliseconds max_predicted_wait{0};
  // Sequences of requests that are admitted and not finished. 0: no limit.
  size_t max_concurrent_sequences = 16384;
  // Within what time first tokens should come: what would wait longer for its turn is refused, too.
  FirstTokenObjectives first_token_objectives{};
  // Routers that keys' requests come to: each lets a key have its part of the key's limits, rounded
  // up.
  uint64_t limits_divided_by = 1;
  // The two below count for keys that have no limit of their own (tenant.h).
  size_t max_concurrent_per_key = 0;
  // Of requests with an API key; those without may ask for any.
  int32_t max_priority = std::numeric_limits<int32_t>::max();
};

}  // namespace pingti::router
