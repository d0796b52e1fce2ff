// bf16 matrix products through cuBLASLt, the best there is for them on the device (bench/kernels
// measures ours for int8 and 4 bit). Owns the handle, its workspace and one plan a shape.
//
// Confined to the engine thread.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker::cuda {

class Blas {
 public:
  static absl::StatusOr<std::unique_ptr<Blas>> Make();
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // out[m, n] = sum over k of x[m, k] w[n, k] + bias[n], accumulated in f32, and added to what is
  // in `out` if `accumulate`. `w`: device, bf16, dense [out.cols, x.cols], 16-byte aligned. `bias`:
  // device, bf16 [out.cols] or null. x is bf16, out bf16 or f32. Errors: Internal naming the shape.
  absl::Status Multiply(const void* w, const void* bias, MatrixView x, MatrixView out,
                        cudaStream_t stream, bool accumulate = false);
  // The same for every head, of its columns of x and out and a matrix of its own. `w`: [heads,
  // out.cols, x.cols], or [heads, x.cols, out.cols] where it is `transposed`. Everything is bf16
  // and 16-byte aligned; columns and strides are multiples of 8.
  absl::Status MultiplyHeads(const void* w, bool transposed, const HeadsView& x,
                             const HeadsView& out, cudaStream_t stream);

 private:
  struct Key {
    int64_t m, n, k, x_stride, out_stride;
    bool f32_out, bias;
    // Of products by head alone.
    int64_t heads = 0;
    int64_t x_head_stride = 0;
    int64_t out_head_stride = 0;
    bool transposed = false;
    auto operator<=>(const Key&) const = default;
  };
  struct Plan {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t w = nullptr;
    cublasLtMatrixLayout_t x = nullptr;
    cublasLtMatrixLayout_t out = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };

  Blas() = default;
  static std::string Describe(const Key& key);
  absl::StatusOr<Plan*> PlanFor(const Key& key);
  absl::Status MakePlan(const Key& key, Plan* plan);
  absl::Status MakeLayouts(const Key& key, const std::string& what, Plan* plan);
  absl::Status ChooseAlgorithm(const Key& key, const std::string& what, Plan* plan);
  absl::Status Run(const Key& key, Plan* plan, const void* w, const void* x, void* out, float beta,
                   cudaStream_t stream);

  cublasLtHandle_t handle_ = nullptr;
  std::unique_ptr<CudaBuffer> workspace_;
  std::map<Key, Plan> plans_;
};

}  // namespace pingti::worker::cuda
