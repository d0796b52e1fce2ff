// What adapters add to products (kernels' lora.h). Confined to the engine thread. Next:
// cuda_lora_slots.h, where their matrices are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

  // Tiles of rows that are those of some of a step's tokens, for AddTo. Not to be recorded: the
  // list is copied when this is called.
  absl::StatusOr<kernels::LoraTiles> TilesOf(std::span<const int32_t> tokens,
                                             std::span<const int32_t> query_start,
                                             std::span<const int32_t> adapter_slots,
                                             cudaStream_t stream);
  // out += (x A^T) B^T for rows of `tiles` with adapters; `out` is f32.
  absl::Status AddTo(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles, MatrixView x,
                     MatrixView out, cudaStream_t stream);
  // out += A[:, token]^T B^T for rows of `tiles` with adapters; `token_ids` is on the device.
  absl::Status AddToEmbedded(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                             const int32_t* token_ids, int32_t first_token, MatrixView out,
                             cudaStream_t stream);

 private:
  // out = (x A^T) B^T for rows with adapters, zeros for the others.
  absl::Status RunAlone(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                        MatrixView x, MatrixView out, cudaStream_t stream);
  absl::Status Shrink(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles, MatrixView x,
                      cudaStream_t stream);
  // `num_splits` is what is in shrunk_; `accumulate`: onto what is in `out`.
  absl::Status Expand(const CudaLoraWeights& weights, const kernels::LoraTiles& tiles,
                      int num_splits, bool accumulate, MatrixView out, cudaStream_t stream);
  int64_t ShrunkBytes(const StepLimits& limits) const;
  int64_t BesideBytes(const StepLimits& limits) const;
  static int64_t TileBytes(const StepLimits& limits);

  int64_t row_bytes_ = 0;               // that the widest product shrinks a row to, all splits
  int64_t max_columns_ = 0;             // of a product of activations
  std::unique_ptr<CudaBuffer> shrunk_;  // f32, see kernels' lora.h
  std::unique_ptr<CudaBuffer> beside_;  // bf16, what is to be added to a product of few rows
  std::unique_ptr<CudaBuffer> tiles_;   // i32, of TilesOf
  std::vector<int32_t> host_tiles_;
  SideStream side_;
};

}  // namespace pingti::worker::cuda
