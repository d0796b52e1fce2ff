#include "worker/backend/cuda/blas.h"

#include <string>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cuda/cuda_status.h"

namespace pingti::worker::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

absl::Status BlasStatus(cublasStatus_t status, const std::string& what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  // A launch that fails for a lost device says so through the runtime.
  if (const cudaError_t error = cudaPeekAtLastError(); error != cudaSuccess) {
    return CudaStatus(error, what);
  }
  return absl::InternalError(Concat("cuBLASLt: ", what, ": ", cublasLtGetStatusName(status)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Blas>> Blas::Make() {
  std::unique_ptr<Blas> blas(new Blas());
  PINGTI_RETURN_IF_ERROR(BlasStatus(cublasLtCreate(&blas->handle_), "cublasLtCreate"));
  PINGTI_ASSIGN_OR_RETURN(blas->workspace_, CudaBuffer::Make(kWorkspaceBytes));
  return blas;
}

Blas::~Blas() {
  for (auto& [key, plan] : plans_) {
    cublasLtMatmulDescDestroy(plan.product);
    cublasLtMatrixLayoutDestroy(plan.w);
    cublasLtMatrixLayoutDestroy(plan.x);
    cublasLtMatrixLayoutDestroy(plan.out);
  }
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

// Row-major [rows, cols] is cuBLASLt's column-major [cols, rows]: out^T [n, m] = w [n, k] x^T
// [k, m].
absl::Status Blas::MakePlan(const Key& key, Plan* plan) {
  const auto u = [](int64_t value) { return static_cast<uint64_t>(value); };
  const std::string what =
      Concat("bf16 product of ", key.m, " x ", key.n, " x ", key.k, key.f32_out ? " to f32" : "");
  const cudaDataType_t out_type = key.f32_out ? CUDA_R_32F : CUDA_R_16BF;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  PINGTI_RETURN_IF_ERROR(
      BlasStatus(cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), what));
  PINGTI_RETURN_IF_ERROR(
      BlasStatus(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                &transposed, sizeof(transposed)),
                 what));
  if (key.bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t bias_type = CUDA_R_16BF;
    PINGTI_RETURN_IF_ERROR(
        BlasStatus(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                  &epilogue, sizeof(epilogue)),
                   what));
    PINGTI_RETURN_IF_ERROR(BlasStatus(
        cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                       &bias_type, sizeof(bias_type)),
        what));
  }
  PINGTI_RETURN_IF_ERROR(BlasStatus(
      cublasLtMatrixLayoutCreate(&plan->w, CUDA_R_16BF, u(key.k), u(key.n), key.k), what));
  PINGTI_RETURN_IF_ERROR(BlasStatus(
      cublasLtMatrixLayoutCreate(&plan->x, CUDA_R_16BF, u(key.k), u(key.m), key.x_stride), what));
  PINGTI_RETURN_IF_ERROR(BlasStatus(
      cublasLtMatrixLayoutCreate(&plan->out, out_type, u(key.n), u(key.m), key.out_stride), what));

  cublasLtMatmulPreference_t preference = nullptr;
  PINGTI_RETURN_IF_ERROR(BlasStatus(cublasLtMatmulPreferenceCreate(&preference), what));
  const size_t workspace = static_cast<size_t>(kWorkspaceBytes);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace));
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasLtMatmulAlgoGetHeuristic(handle_, plan->product, plan->w, plan->x, plan->out,
                                            plan->out, preference, 1, &result, &found);
  }
  cublasLtMatmulPreferenceDestroy(preference);
  PINGTI_RETURN_IF_ERROR(BlasStatus(status, what));
  if (found == 0) return absl::InternalError(Concat("cuBLASLt has no algorithm for a ", what));
  plan->algorithm = result.algo;
  return absl::OkStatus();
}

absl::StatusOr<Blas::Plan*> Blas::PlanFor(const Key& key) {
  const auto [it, is_new] = plans_.try_emplace(key);
  if (is_new) {
    if (absl::Status status = MakePlan(key, &it->second); !status.ok()) return status;
  }
  return &it->second;
}

absl::Status Blas::Multiply(const void* w, const void* bias, MatrixView x, MatrixView out,
                            cudaStream_t stream, bool accumulate) {
  const Key key{x.rows,         out.cols, x.cols, x.stride, out.stride, out.dtype == DType::kF32,
                bias != nullptr};
  PINGTI_ASSIGN_OR_RETURN(Plan * plan, PlanFor(key));
  if (bias != nullptr) {
    PINGTI_RETURN_IF_ERROR(
        BlasStatus(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                  &bias, sizeof(bias)),
                   "bias"));
  }
  const float one = 1.0f;
  const float beta = accumulate ? 1.0f : 0.0f;
  const cublasStatus_t status =
      cublasLtMatmul(handle_, plan->product, &one, w, plan->w, x.data, plan->x, &beta, out.data,
                     plan->out, out.data, plan->out, &plan->algorithm, workspace_->data(),
                     static_cast<size_t>(kWorkspaceBytes), stream);
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return BlasStatus(status, Concat("bf16 product of ", key.m, " x ", key.n, " x ", key.k));
}

}  // namespace pingti::worker::cuda
