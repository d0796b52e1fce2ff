#include "worker/backend/cuda/step_graphs.h"

#include <algorithm>
#include <bit>

#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {

namespace {

int32_t PowerOfTwoFrom(int32_t n) {
  return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(n)));
}

int32_t MultipleFrom(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

StepShape StepGraphs::Padded(const StepShape& shape, const StepLimits& limits,
                             int32_t max_query_len) {
  const bool one_each = shape.uniform && shape.query_len == 1;
  const bool few_such = shape.uniform && PowerOfTwoFrom(shape.num_seqs) == shape.num_seqs;
  if (one_each || few_such || shape.num_tokens > kMaxTokens || shape.query_len > max_query_len) {
    return shape;
  }
  // Rows of a product and sequences without tokens cost next to nothing within these steps.
  StepShape padded = shape;
  padded.uniform = false;
  padded.num_seqs =
      static_cast<int32_t>(std::min<int64_t>(PowerOfTwoFrom(shape.num_seqs), limits.max_seqs));
  padded.query_len = std::min(PowerOfTwoFrom(shape.query_len), max_query_len);
  padded.num_tokens = static_cast<int32_t>(std::min<int64_t>(
      MultipleFrom(shape.num_tokens, shape.num_tokens <= 64 ? 8 : 32), limits.max_tokens));
  return padded;
}

StepGraphs::~StepGraphs() { Clear(); }

void StepGraphs::Clear() {
  for (const auto& [shape, graph] : graphs_) {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
  graphs_.clear();
}

absl::Status StepGraphs::Capture(const std::function<absl::Status()>& operations,
                                 cudaStream_t stream, cudaGraphExec_t* graph) {
  PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const absl::Status issued = operations();
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &captured);
  absl::Status status = issued;
  if (status.ok()) status = CudaStatus(ended, "cudaStreamEndCapture");
  if (status.ok()) {
    status = CudaStatus(cudaGraphInstantiate(graph, captured, 0), "cudaGraphInstantiate");
  }
  if (captured != nullptr) cudaGraphDestroy(captured);
  return status;
}

absl::Status StepGraphs::Run(const StepShape& shape,
                             const std::function<absl::Status()>& operations, cudaStream_t stream) {
  const auto [it, is_first] = graphs_.try_emplace(shape, nullptr);
  if (is_first) return operations();
  if (it->second == nullptr) PINGTI_RETURN_IF_ERROR(Capture(operations, stream, &it->second));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaGraphLaunch(it->second, stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
