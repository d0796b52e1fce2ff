// Each session's own order of the workers, the same at all routers: rendezvous hashing (Thaler and
// Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). A worker that comes or
// goes moves only the sessions that it gains or loses.
#pragma once

#include <cstdint>

#include "common/base/stable_hash.h"
#include "router/registry/worker_load.h"

namespace pingti::router {

// The worker with the greatest weight comes first.
constexpr uint64_t RendezvousWeight(uint64_t session, const WorkerLoad& load) {
  return MixBits(session ^ load.address_hash);
}

}  // namespace pingti::router
