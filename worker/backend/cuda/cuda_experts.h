// A mixture of experts on the device: the choice of experts, which never comes to the host, and
// products of rows with their experts' matrices (kernels' moe.h), in bf16, in int8, and of 4 or 8
// bits with scales per group as they are. Confined to the engine thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/device_memory.h"

namespace pingti::worker::cuda {

class CudaExperts {
 public:
  // Of the choice and, where the limits say that operands come without it, of their int8 form.
  static int64_t BytesFor(const StepLimits& limits);
  absl::Status Allocate(const StepLimits& limits);

  // Where choices are counted, and the slots of tokens, by which rows that are none are told.
  struct Counts {
    float* values = nullptr;  // null: nothing is counted
    const int64_t* slots = nullptr;
  };
  // See Backend::RouteExperts, ExpertLinear and CombineExperts.
  absl::Status Route(MatrixView logits, const ExpertRouting& routing, const float* bias,
                     const Counts& counts, cudaStream_t stream);
  absl::Status Linear(const CudaLinearWeight& weight, const Operand& x, RowOrder order,
                      MatrixView out, cudaStream_t stream);
  absl::Status Combine(MatrixView rows, const SharedExpert& shared, MatrixView out,
                       cudaStream_t stream);
  // On the device: how many choices of the last Route have rows. Null: all.
  const int32_t* num_rows() const;

 private:
  absl::Status QuantizedForm(const Operand& x, cudaStream_t stream, QuantizedView* form);

  // Of the last Route.
  int64_t num_tokens_ = 0;
  ExpertRouting routing_;
  int64_t max_choices_ = 0;
  std::unique_ptr<CudaBuffer> experts_;    // int32 [tokens, per_token]
  std::unique_ptr<CudaBuffer> weights_;    // f32, the same
  std::unique_ptr<CudaBuffer> row_of_;     // int32, the same; -1: the expert is not held
  std::unique_ptr<CudaBuffer> token_of_;   // int32 [tokens * rows_per_token], of each row
  std::unique_ptr<CudaBuffer> span_of_;    // int2, the same; see SortExpertRowsParams
  std::unique_ptr<CudaBuffer> first_row_;  // int32 [held + 1]
  std::unique_ptr<CudaBuffer> scratch_;    // the int8 form of an operand that lacks it
};

}  // namespace pingti::worker::cuda
