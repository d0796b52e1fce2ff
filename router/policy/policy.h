// Which worker gets a sequence. One file per policy beside this one; choose_policy.h knows them
// all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "router/registry/worker_load.h"

namespace pingti::router {

// What a policy knows of the sequence that is placed.
struct PlacementRequest {
  uint64_t prompt_tokens = 0;
  std::span<const uint64_t> block_hashes{};  // of the prompt's full blocks
  std::string_view affinity_hint{};          // see GenerationRequest; empty: none
};

// Called under the dispatcher's lock: one thread at a time, must be quick and not call back.
class Policy {
 public:
  virtual ~Policy() = default;
  // As the setting `policy` and the logs spell it.
  virtual std::string_view name() const = 0;
  // Whether a sequence may wait for a worker without credit while another has some. Without it,
  // Pick is shown workers with credit alone.
  virtual bool may_wait() const { return false; }
  // Index into `candidates`. One without credit is waited for: the next round asks again. REQUIRES:
  // it is not empty.
  virtual size_t Pick(const PlacementRequest& request, std::span<const WorkerLoad> candidates) = 0;
};

}  // namespace pingti::router
