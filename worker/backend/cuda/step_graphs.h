// CUDA graphs of decode steps, one per shape, captured when a shape comes up for the second time:
// the first one runs as it is, which also loads kernels and picks algorithms. Steps with several
// tokens per sequence, as drafts make them, are padded to few shapes.
//
// Confined to the engine thread. Source: CUDA Programming Guide, "CUDA Graphs", stream capture.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "absl/status/status.h"
#include "worker/backend/backend.h"

namespace pingti::worker::cuda {

class StepGraphs {
 public:
  StepGraphs() = default;
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Larger steps are long enough to hide their launches.
  static constexpr int32_t kMaxTokens = 256;

  // The shape of the graph that such a step runs from, within the limits; its own where it has one
  // token per sequence, equally many of a power of two of sequences, or too many to be recorded.
  static StepShape Padded(const StepShape& shape, const StepLimits& limits, int32_t max_query_len);

  // Drops every graph: addresses they hold are about to change.
  void Clear();
  // Runs `operations`, which issue a step of this shape on `stream`, or their graph.
  absl::Status Run(const StepShape& shape, const std::function<absl::Status()>& operations,
                   cudaStream_t stream);

 private:
  absl::Status Capture(const std::function<absl::Status()>& operations, cudaStream_t stream,
                       cudaGraphExec_t* graph);

  // Null: came up once.
  std::map<StepShape, cudaGraphExec_t> graphs_;
};

}  // namespace pingti::worker::cuda
