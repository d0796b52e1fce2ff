// Adapters on the device: their matrices in bf16, slot by slot, and what they add to products
// (kernels' lora.h). Confined to the engine thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pingti/kernels/lora.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/side_stream.h"

namespace pingti::worker::cuda {

class CudaLoraWeights : public LoraWeights {
 public:
  // Slots without adapters. Errors: ResourceExhausted; Unimplemented, naming sizes that the kernels
  // do not take.
  static absl::StatusOr<std::unique_ptr<CudaLoraWeights>> Make(const LoraShape& shape);

  // See Backend::SetLora. Copies are issued on `stream`.
  absl::Status Set(int32_t slot, const LoraMatrices& matrices, cudaStream_t stream);

  // Whether some adapter adds to this product.
  bool is_used() const;
  // In which kernels' matrices lie: the largest rank, filled up.
  int64_t padded_rank() const { return padded_rank_; }
  const void* a() const { return a_->data(); }
  const void* b() const { return b_->data(); }
  const int32_t* ranks() const { return static_cast<const int32_t*>(ranks_->data()); }

 private:
  CudaLoraWeights(const LoraShape& shape, int64_t padded_rank)
      : LoraWeights(shape), padded_rank_(padded_rank) {}

  absl::Status CopyDown(int32_t slot, int32_t module, const LoraMatrices& matrices,
                        cudaStream_t stream);
  absl::Status CopyUp(int32_t slot, size_t part, int64_t first_column, const LoraMatrices& matrices,
                      cudaStream_t stream);

  const int64_t padded_rank_;
  std::vector<int32_t> host_ranks_;    // [slots, modules]
  std::unique_ptr<CudaBuffer> a_;      // bf16 [slots, modules, padded_rank, in_features]
  std::unique_ptr<CudaBuffer> b_;      // bf16 [slots, out_features, padded_rank]
  std::unique_ptr<CudaBuffer> ranks_;  // i32 [slots, modules]
};

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
