// What a rank remembers between calls, and what the ranks and the host tell each other when one
// does not come. Layout shared by device code and host code.
#pragma once

#include <cstdint>

#include "pingti/kernels/all_reduce.h"

namespace pingti::kernels {

// On the rank's device; written at the end of a call by the block that was the last to arrive.
struct alignas(16) AllReduceState {
  uint32_t buffer = 0;          // 0 to 2: the one whose turn it is
  uint32_t used_vectors = 0;    // of the buffer before it, which the next call arms again
  uint32_t blocks_arrived = 0;  // of the call that runs; wraps to 0
  uint32_t gone = 0;            // 1: the group was aborted; nothing waits any more
};

// In page-locked host memory.
struct AllReduceBoard {
  uint32_t aborted = 0;
  uint32_t missed_by[kMaxAllReduceRanks] = {};  // 1 + the peer for which the rank waited too long
};

}  // namespace pingti::kernels
