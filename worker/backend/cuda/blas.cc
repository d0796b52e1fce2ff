#include "worker/backend/cuda/blas.h"

#include <string>
#include <utility>

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
absl::Status Blas::MakeLayouts(const Key& key, const std::string& what, Plan* plan) {
  const auto u = [](int64_t value) { return static_cast<uint64_t>(value); };
  const cudaDataType_t out_type = key.f32_out ? CUDA_R_32F : CUDA_R_16BF;
  const int64_t w_rows = key.transposed ? key.n : key.k;
  PINGTI_RETURN_IF_ERROR(
      BlasStatus(cublasLtMatrixLayoutCreate(&plan->w, CUDA_R_16BF, u(w_rows),
                                            u(key.transposed ? key.k : key.n), w_rows),
                 what));
  PINGTI_RETURN_IF_ERROR(BlasStatus(
      cublasLtMatrixLayoutCreate(&plan->x, CUDA_R_16BF, u(key.k), u(key.m), key.x_stride), what));
  PINGTI_RETURN_IF_ERROR(BlasStatus(
      cublasLtMatrixLayoutCreate(&plan->out, out_type, u(key.n), u(key.m), key.out_stride), what));
  if (key.heads == 0) return absl::OkStatus();
  const auto heads = static_cast<int32_t>(key.heads);
  const std::pair<cublasLtMatrixLayout_t, int64_t> strides[] = {
      {plan->w, key.n * key.k}, {plan->x, key.x_head_stride}, {plan->out, key.out_head_stride}};
  for (const auto& [layout, stride] : strides) {
    PINGTI_RETURN_IF_ERROR(
        BlasStatus(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                    &heads, sizeof(heads)),
                   what));
    PINGTI_RETURN_IF_ERROR(BlasStatus(
        cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                         &stride, sizeof(stride)),
        what));
  }
  return absl::OkStatus();
}

absl::Status Blas::ChooseAlgorithm(const Key& key, const std::string& what, Plan* plan) {
  cublasLtMatmulPreference_t preference = nullptr;
  PINGTI_RETURN_IF_ERROR(BlasStatus(cublasLtMatmulPreferenceCreate(&preference), what));
  const size_t workspace = static_cast<size_t>(kWorkspaceBytes);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  cublasStatus_t status = cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof(workspace));
  // A head's columns begin anywhere.
  const uint32_t alignment = 16;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    if (status != CUBLAS_STATUS_SUCCESS || key.heads == 0) break;
    status =
        cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(alignment));
  }
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

absl::Status Blas::MakePlan(const Key& key, Plan* plan) {
  const std::string what = Describe(key);
  const cublasOperation_t of_w = key.transposed ? CUBLAS_OP_N : CUBLAS_OP_T;
  PINGTI_RETURN_IF_ERROR(
      BlasStatus(cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), what));
  PINGTI_RETURN_IF_ERROR(
      BlasStatus(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &of_w,
                                                sizeof(of_w)),
                 what));
  if (key.bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t bias_type = key.f32_out ? CUDA_R_32F : CUDA_R_16BF;
    PINGTI_RETURN_IF_ERROR(
        BlasStatus(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                  &epilogue, sizeof(epilogue)),
                   what));
    PINGTI_RETURN_IF_ERROR(BlasStatus(
        cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                       &bias_type, sizeof(bias_type)),
        what));
  }
  PINGTI_RETURN_IF_ERROR(MakeLayouts(key, what, plan));
  return ChooseAlgorithm(key, what, plan);
}

absl::StatusOr<Blas::Plan*> Blas::PlanFor(const Key& key) {
  const auto [it, is_new] = plans_.try_emplace(key);
  if (is_new) {
    if (absl::Status status = MakePlan(key, &it->second); !status.ok()) return status;
  }
  return &it->second;
}

std::string Blas::Describe(const Key& key) {
  return Concat("bf16 product of ", key.m, " x ", key.n, " x ", key.k, key.f32_out ? " to f32" : "",
                key.heads > 0 ? Concat(" for ", key.heads, " heads") : "");
}

absl::Status Blas::Run(const Key& key, Plan* plan, const void* w, const void* x, void* out,
                       float beta, cudaStream_t stream) {
  const float one = 1.0f;
  const cublasStatus_t status = cublasLtMatmul(
      handle_, plan->product, &one, w, plan->w, x, plan->x, &beta, out, plan->out, out, plan->out,
      &plan->algorithm, workspace_->data(), static_cast<size_t>(kWorkspaceBytes), stream);
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return BlasStatus(status, Describe(key));
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
  return Run(key, plan, w, x.data, out.data, accumulate ? 1.0f : 0.0f, stream);
}

absl::Status Blas::MultiplyHeads(const void* w, bool transposed, const HeadsView& x,
                                 const HeadsView& out, cudaStream_t stream) {
  const Key key{x.matrix.rows, out.cols, x.cols,   x.matrix.stride, out.matrix.stride, false,
                false,         x.heads,  x.stride, out.stride,      transposed};
  PINGTI_ASSIGN_OR_RETURN(Plan * plan, PlanFor(key));
  return Run(key, plan, w, static_cast<const uint16_t*>(x.matrix.data) + x.first,
             static_cast<uint16_t*>(out.matrix.data) + out.first, 0.0f, stream);
}

}  // namespace pingti::worker::cuda
