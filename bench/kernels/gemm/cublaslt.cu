#include <cstdio>
#include <cstdlib>

#include "bench/kernels/gemm/cublaslt.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::bench {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

void CheckLt(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::printf("cuBLASLt: %s: status %d\n", what, static_cast<int>(status));
  std::exit(1);
}

__global__ void DequantizeKernel(const int4* acc, const float* token_scale,
                                 const float* channel_scale, const __nv_bfloat16* bias, uint2* y,
                                 int n, int64_t vectors) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < vectors; v += step) {
    const int64_t row = 4 * v / n;
    const int col = static_cast<int>(4 * v - row * n);
    const int4 a = __ldcs(acc + v);
    const float4 c = *reinterpret_cast<const float4*>(channel_scale + col);
    const float t = token_scale[row];
    float b[4] = {};
    if (bias != nullptr) {
      for (int i = 0; i < 4; ++i) b[i] = __bfloat162float(bias[col + i]);
    }
    const __nv_bfloat162 lo = __floats2bfloat162_rn(static_cast<float>(a.x) * t * c.x + b[0],
                                                    static_cast<float>(a.y) * t * c.y + b[1]);
    const __nv_bfloat162 hi = __floats2bfloat162_rn(static_cast<float>(a.z) * t * c.z + b[2],
                                                    static_cast<float>(a.w) * t * c.w + b[3]);
    y[v] = make_uint2(*reinterpret_cast<const uint32_t*>(&lo),
                      *reinterpret_cast<const uint32_t*>(&hi));
  }
}

__global__ void VerifyKernel(const int32_t* acc, const int32_t* got, const float* token_scale,
                             const float* channel_scale, const __nv_bfloat16* bias,
                             const __nv_bfloat16* y, int n, int64_t size, unsigned long long* bad) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  unsigned long long count = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += step) {
    if (got != nullptr && got[i] != acc[i]) ++count;
    if (y != nullptr) {
      const int col = static_cast<int>(i % n);
      const double product = double(acc[i]) * token_scale[i / n] * channel_scale[col];
      const double addend = bias != nullptr ? double(__bfloat162float(bias[col])) : 0.0;
      const double expected = product + addend;
      const double ulp = expected == 0.0 ? 0.0 : exp2(floor(log2(fabs(expected))) - 7.0);
      const double slack = ulp + 0x1p-22 * (fabs(product) + fabs(addend));
      if (!(fabs(double(__bfloat162float(y[i])) - expected) <= slack)) ++count;
    }
  }
  if (count != 0) atomicAdd(bad, count);
}

}  // namespace

CublasLt::CublasLt(LtTypes types, int m, int n, int k) : types_(types) {
  const bool s8 = types == LtTypes::kS8ToS32;
  const cudaDataType_t in = s8 ? CUDA_R_8I : CUDA_R_16BF;
  const cudaDataType_t out = s8 ? CUDA_R_32I : CUDA_R_16BF;
  CheckLt(cublasLtCreate(&handle_), "cublasLtCreate");
  CheckLt(cublasLtMatmulDescCreate(&operation_, s8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                                   s8 ? CUDA_R_32I : CUDA_R_32F),
          "operation");
  const cublasOperation_t transpose = CUBLAS_OP_T;
  CheckLt(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                         sizeof(transpose)),
          "transpose");
  // Column-major as the library sees it: out^T[n, m] = w^T[k, n]^T a^T[k, m].
  CheckLt(cublasLtMatrixLayoutCreate(&layout_w_, in, k, n, k), "layout of w");
  CheckLt(cublasLtMatrixLayoutCreate(&layout_a_, in, k, m, k), "layout of a");
  CheckLt(cublasLtMatrixLayoutCreate(&layout_out_, out, n, m, n), "layout of the output");
  PINGTI_CUDA(cudaMalloc(&workspace_, kWorkspaceBytes));

  cublasLtMatmulPreference_t preference;
  CheckLt(cublasLtMatmulPreferenceCreate(&preference), "preference");
  CheckLt(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
          "workspace");
  CheckLt(cublasLtMatmulAlgoGetHeuristic(handle_, operation_, layout_w_, layout_a_, layout_out_,
                                         layout_out_, preference, kMaxAlgorithms, heuristics_,
                                         &num_algorithms_),
          "heuristic");
  cublasLtMatmulPreferenceDestroy(preference);
}

CublasLt::~CublasLt() {
  cudaFree(workspace_);
  cublasLtMatrixLayoutDestroy(layout_out_);
  cublasLtMatrixLayoutDestroy(layout_a_);
  cublasLtMatrixLayoutDestroy(layout_w_);
  cublasLtMatmulDescDestroy(operation_);
  cublasLtDestroy(handle_);
}

cudaError_t CublasLt::Run(int algorithm, const void* a, const void* w, void* out,
                          cudaStream_t stream) const {
  // The scale type is s32 or f32, as the operation was made.
  const int32_t s32_scales[2] = {1, 0};
  const float f32_scales[2] = {1.0f, 0.0f};
  const bool s8 = types_ == LtTypes::kS8ToS32;
  const void* alpha = s8 ? static_cast<const void*>(&s32_scales[0]) : &f32_scales[0];
  const void* beta = s8 ? static_cast<const void*>(&s32_scales[1]) : &f32_scales[1];
  CheckLt(cublasLtMatmul(handle_, operation_, alpha, w, layout_w_, a, layout_a_, beta, out,
                         layout_out_, out, layout_out_, &heuristics_[algorithm].algo, workspace_,
                         kWorkspaceBytes, stream),
          "matmul");
  return cudaGetLastError();
}

cudaError_t LaunchDequantize(const int32_t* acc, const float* token_scale,
                             const float* channel_scale, const __nv_bfloat16* bias,
                             __nv_bfloat16* y, int m, int n, cudaStream_t stream) {
  const int64_t vectors = int64_t{m} * n / 4;
  const int blocks = static_cast<int>(vectors + 255 < 256 * 4096 ? (vectors + 255) / 256 : 4096);
  DequantizeKernel<<<blocks, 256, 0, stream>>>(reinterpret_cast<const int4*>(acc), token_scale,
                                               channel_scale, bias, reinterpret_cast<uint2*>(y), n,
                                               vectors);
  return cudaGetLastError();
}

cudaError_t LaunchVerify(const int32_t* acc, const int32_t* got, const float* token_scale,
                         const float* channel_scale, const __nv_bfloat16* bias,
                         const __nv_bfloat16* y, int m, int n, unsigned long long* bad,
                         cudaStream_t stream) {
  VerifyKernel<<<1024, 256, 0, stream>>>(acc, got, token_scale, channel_scale, bias, y, n,
                                         int64_t{m} * n, bad);
  return cudaGetLastError();
}

}  // namespace pingti::kernels::bench
