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

#include "absl/status/statusor.h"
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

 private:
  struct Key {
    int64_t m, n, k, x_stride, out_stride;
    bool f32_out, bias;
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
  absl::StatusOr<Plan*> PlanFor(const Key& key);
  absl::Status MakePlan(const Key& key, Plan* plan);

  cublasLtHandle_t handle_ = nullptr;
  std::unique_ptr<CudaBuffer> workspace_;
  std::map<Key, Plan> plans_;
};

}  // namespace pingti::worker::cuda
