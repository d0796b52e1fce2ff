// What adapters add to products (kernels' lora.h). Confined to the engine thread. Next:
// cuda_lora_slots.h, where their matrices are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "pingti/kernels/lora.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/cuda_lora_slots.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/side_stream.h"

namespace pingti::worker::cuda {

// Runs the products. In steps of few tokens they run beside the one that they are added to, on a
// stream of their own, and are added when both are there; in others they come first, and that one
// is added to them, which takes no room for their results (docs/performance.md).
class CudaLora {
 public:
  // Products with these weights will come.
  void Announce(const CudaLoraWeights& weights);
  int64_t BytesFor(const StepLimits& limits) const;
  absl::Status Allocate(const StepLimits& limits);

  // The product that adapters are added to; `accumulate`: onto what is in its output.
  using Product = std::function<absl::Status(bool accumulate)>;
  // Runs the product of x into `out` and adds (x A^T) B^T for rows with adapters. REQUIRES: `tiles`
  // has all rows.
  absl::Status Run(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles, MatrixView x,
                   MatrixView out, const Product& product, cudaStream_t stream);

 private:
  // out = (x A^T) B^T for rows with adapters, zeros for the others.
  absl::Status RunAlone(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                        MatrixView x, MatrixView out, cudaStream_t stream);
  int64_t ShrunkBytes(const StepLimits& limits) const;
  int64_t BesideBytes(const StepLimits& limits) const;

  int64_t row_bytes_ = 0;               // that the widest product shrinks a row to, all splits
  int64_t max_columns_ = 0;             // of a product
  std::unique_ptr<CudaBuffer> shrunk_;  // f32, see kernels' lora.h
  std::unique_ptr<CudaBuffer> beside_;  // bf16, what is to be added to a product of few rows
  SideStream side_;
};

}  // namespace pingti::worker::cuda
