#include "worker/backend/cuda/step_graphs.h"

#include "common/base/status_macros.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {

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
  if (shape.num_tokens() > kMaxTokens) return operations();
  const auto [it, is_first] = graphs_.try_emplace(shape, nullptr);
  if (is_first) return operations();
  if (it->second == nullptr) PINGTI_RETURN_IF_ERROR(Capture(operations, stream, &it->second));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaGraphLaunch(it->second, stream));
  return absl::OkStatus();
}

}  // namespace pingti::worker::cuda
