// Collectives over matrices that one thread can reach all of: what communicators between threads
// and over a network compute once the ranks' calls are together.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

enum class Collective : uint8_t { kAllReduceSum, kAllGather, kBroadcast };

// What one rank asks for.
struct CollectiveCall {
  Collective collective = Collective::kAllReduceSum;
  MatrixView matrix;
  int root = 0;  // of a broadcast
};

// Whether the ranks' calls, in rank order, are one operation. Every rank that looks at the same
// calls gets the same answer. Errors: InvalidArgument, naming the rank and what was expected.
absl::Status CheckCalls(std::span<const CollectiveCall> calls);

// The rest takes calls that have passed CheckCalls.

// Columns [first, first + count) of every matrix = their sum over ranks, added in rank order; BF16
// in f32 and rounded once, I32 wraps around.
void SumColumns(std::span<const CollectiveCall> calls, int64_t first, int64_t count);
// The matrix of `rank` takes the other ranks' stretches of the columns.
void GatherStretches(std::span<const CollectiveCall> calls, int rank);
// The matrix of `rank` = that of the root.
void TakeRoots(std::span<const CollectiveCall> calls, int rank);

}  // namespace pingti::worker
