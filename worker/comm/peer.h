// Tensor-parallel ranks on GPUs of one host that reach each other's memory: sums and gathers by
// pingti's own kernels (kernels/comm), which take one NVLink latency where NCCL takes several.
//
// Operations go to the backends' streams and may be recorded. Sums of F32 and BF16 are ours at
// every size, alone or with residual, norm and quantization, and so are gathers; what is rare is
// left to another communicator of the same ranks. A wait for a peer ends on the device after a
// time, or when any rank aborts; then every operation of every rank returns Aborted, with the rank
// that did not come where that is known. What the device computed after a wait was given up is
// worthless: Check says so.
//
// Promises: a sum is added in float in rank order and rounded once by every rank that needs it, or
// by one for all.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

namespace pingti::worker {

struct PeerRank {
  Backend* backend = nullptr;  // with a CUDA stream
  // For broadcasts and for I32; not null.
  std::unique_ptr<Communicator> rest;
};

struct PeerOptions {
  std::chrono::milliseconds timeout{std::chrono::seconds(2)};  // of a wait for a peer
};

// Whether MakePeerCommunicators has kernels for these: 2, 4 or 8 backends with CUDA streams on
// devices that reach each other's memory. A device may stand for several ranks (in tests).
bool CanSumThroughPeers(const std::vector<Backend*>& backends);

// One communicator for each rank, in the order of `ranks`; each is for its rank's thread. While any
// has something under way on a device, no memory of any of the devices may be freed, since freeing
// waits for the device. Errors: InvalidArgument (not CanSumThroughPeers), ResourceExhausted,
// Internal (CUDA's cause).
absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> MakePeerCommunicators(
    std::vector<PeerRank> ranks, const PeerOptions& options);

}  // namespace pingti::worker
