// Baselines of the GEMM benches: cuBLASLt's s8 x s8 -> s32 and bf16 products with the algorithms
// its heuristic returns for a 64 MiB workspace, and a plain kernel that turns s32 into scaled bf16.
// Bench code: an error ends the program with a message. Single thread.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace pingti::kernels::bench {

enum class LtTypes { kS8ToS32, kBf16 };

class CublasLt {
 public:
  CublasLt(LtTypes types, int m, int n, int k);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  int num_algorithms() const { return num_algorithms_; }
  // out[m, n] = a[m, k] w[n, k]^T, all contiguous.
  cudaError_t Run(int algorithm, const void* a, const void* w, void* out,
                  cudaStream_t stream) const;

 private:
  LtTypes types_;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t layout_w_ = nullptr;
  cublasLtMatrixLayout_t layout_a_ = nullptr;
  cublasLtMatrixLayout_t layout_out_ = nullptr;
  void* workspace_ = nullptr;
  static constexpr int kMaxAlgorithms = 8;
  cublasLtMatmulHeuristicResult_t heuristics_[kMaxAlgorithms];
  int num_algorithms_ = 0;
};

// y = bf16(acc * token_scale * channel_scale + bias), contiguous; n a multiple of 8.
cudaError_t LaunchDequantize(const int32_t* acc, const float* token_scale,
                             const float* channel_scale, const __nv_bfloat16* bias,
                             __nv_bfloat16* y, int m, int n, cudaStream_t stream);

// Counts elements of `got` that differ from `acc`, and elements of `y` further than one bf16 ulp
// (plus f32 rounding) from the float64 epilogue of `acc`. Either may be null. Adds to *bad.
cudaError_t LaunchVerify(const int32_t* acc, const int32_t* got, const float* token_scale,
                         const float* channel_scale, const __nv_bfloat16* bias,
                         const __nv_bfloat16* y, int m, int n, unsigned long long* bad,
                         cudaStream_t stream);

}  // namespace pingti::kernels::bench
