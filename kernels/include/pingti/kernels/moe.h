// A mixture of experts: choice of experts, order of rows by expert, products of rows with their
// experts' matrices, weighted sum. Nothing comes to the host in between, and launches depend on
// sizes alone, so that all of it can be captured into a graph. Host only.
// Next: kernels/moe/route.cu, sort_rows.cu, grouped_gemm/launch.cu, grouped_w4a16/launch.cu,
// combine.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/gemm_w4a16.h"

namespace pingti::kernels {

inline constexpr int kMaxExperts = 512;
inline constexpr int kMaxExpertsPerToken = 32;
inline constexpr int kMaxExpertGroups = 32;

// A token's experts are the `experts_per_token` with the highest scores, the first of equal ones;
// the weight of each is its score, divided by their sum where `normalize` is set, times `scale`.
struct RouteExpertsParams {
  const float* logits = nullptr;  // device, [num_tokens, num_experts]
  int64_t logits_stride = 0;
  const float* bias = nullptr;  // device, [num_experts], added for the choice alone; null: none
  int32_t* experts = nullptr;   // device, [num_tokens, experts_per_token], in order of choice
  float* weights = nullptr;     // device, the same
  // device, [num_experts]: each grows by how often its expert is chosen; null: nothing is counted.
  float* counts = nullptr;
  // device, [num_tokens]: choices of tokens below 0 are not counted; null: all are.
  const int64_t* slots = nullptr;
  int32_t num_tokens = 0;
  int32_t num_experts = 0;        // at most kMaxExperts
  int32_t experts_per_token = 0;  // at most kMaxExpertsPerToken
  bool sigmoid = false;           // of each logit; otherwise softmax over all
  bool normalize = false;
  float scale = 1.0f;
  // Experts in so many groups of equal size, of which the best groups_per_token are chosen from; a
  // group's score is the sum of its group_best (1 or 2) highest.
  int32_t num_groups = 1;
  int32_t groups_per_token = 1;
  int32_t group_best = 1;
};
// cudaErrorInvalidValue: a null pointer or a size outside the ranges above.
cudaError_t LaunchRouteExperts(const RouteExpertsParams& params, cudaStream_t stream);

// Gives every choice (token, i) of the experts from first_expert on a row, in the order of experts,
// and of tokens within an expert. A token chooses no expert twice, so that there are at most
// num_tokens * min(experts_per_token, num_experts) rows.
struct SortExpertRowsParams {
  const int32_t* experts = nullptr;  // device, [num_tokens, experts_per_token]
  int32_t* row_of = nullptr;         // device, the same: the choice's row; -1: it has none
  int32_t* token_of = nullptr;       // device, of each row
  int32_t* first_row = nullptr;      // device, [num_experts + 1], of each expert; last all rows
  // device, of each row, also of those that are not taken: its expert, counted from first_expert,
  // and where the expert's rows end, but 0 in all of them but the expert's first one.
  int2* span_of = nullptr;
  int32_t num_tokens = 0;
  int32_t experts_per_token = 0;
  int32_t first_expert = 0;
  int32_t num_experts = 0;  // that have rows, from first_expert on
};
cudaError_t LaunchSortExpertRows(const SortExpertRowsParams& params, cudaStream_t stream);

// y[r] = x[r] W[expert of r]^T + bias[expert of r], bf16 with f32 sums, or int8 with exact sums,
// then times the scales.
struct GroupedGemmParams {
  const void* x = nullptr;         // device, bf16 or int8 [rows of x, k], 16-byte aligned
  int64_t x_stride = 0;            // elements; rows are 16-byte aligned
  const float* x_scale = nullptr;  // device, [rows of x]: int8 alone; null: bf16
  // device, [num_rows]: row r reads x[x_row[r]]; null: it reads x[r], and x has num_rows rows.
  const int32_t* x_row = nullptr;
  const void* w = nullptr;              // device, [num_experts, n, k] of x's type, 16-byte aligned
  const float* w_scale = nullptr;       // device, [num_experts, n]: int8 alone
  const __nv_bfloat16* bias = nullptr;  // device, [num_experts, n], 4-byte aligned; null: none
  const int32_t* first_row = nullptr;   // device, [num_experts + 1]
  const int2* span_of = nullptr;        // device, [num_rows]: see SortExpertRowsParams
  __nv_bfloat16* y = nullptr;           // device, [num_rows, n]
  int64_t y_stride = 0;                 // even
  int32_t num_rows = 0;                 // at most; how many there are is in first_row
  int32_t expected_rows = 0;  // about how many there will be: chooses tiles, not what is computed
  int32_t num_experts = 0;
  int32_t n = 0;  // even
  int32_t k = 0;  // a multiple of 8 in bf16, of 16 in int8
};
// Reads the matrices of experts that have rows alone. A row's result does not depend on the others;
// sums of bf16 may round differently by how many are expected, which chooses the instruction.
// cudaErrorInvalidValue: a null pointer, misalignment, or a size outside the ranges above.
cudaError_t LaunchGroupedGemm(const GroupedGemmParams& params, cudaStream_t stream);

// Of weights of 4 or 8 bits with a scale per group of a row's values, as GemmW4A16Params has them.
struct GroupScales {
  WeightBits bits = WeightBits::k4;
  int group_size = 128;          // 32, 64, a multiple of 128, or at least k (one group)
  const void* scales = nullptr;  // device, [ceil(k / group_size), num_experts * n], 16 bits each
  ScaleType type = ScaleType::kF16;
  const uint8_t* zeros = nullptr;  // device, the same; null: 8 (4 bits), 128 (8 bits)
  // 4 bits are no integers but E2M1 floats (OCP Microscaling Formats: 0, 0.5, 1, 1.5, 2, 3, 4, 6,
  // then the same below zero), without zeros, in groups of 32.
  bool is_fp4 = false;
};
// The same product with bf16 x and weights in groups: params.w is what LaunchRepackWeights made of
// the num_experts * n rows of the stack, n a multiple of 32, and there is no x_scale and no
// w_scale. Products are bf16, sums and scales f32. Errors as of LaunchGroupedGemm;
// cudaErrorNotSupported: a group size beside those above.
cudaError_t LaunchGroupedW4A16(const GroupedGemmParams& params, const GroupScales& scales,
                               cudaStream_t stream);

// out[t] = sum over i of weights[t, i] * rows[row_of[t, i]] + shared[t] * sigmoid(gate[t]), in f32,
// rounded once. Choices without a row (row_of below 0) add nothing.
struct CombineExpertsParams {
  const __nv_bfloat16* rows = nullptr;    // device, [the last row of row_of + 1, width]
  int64_t rows_stride = 0;                // of all strides: a multiple of 8
  const int32_t* row_of = nullptr;        // device, [num_tokens, experts_per_token]
  const float* weights = nullptr;         // device, the same
  const __nv_bfloat16* shared = nullptr;  // device, [num_tokens, width]; null: none
  int64_t shared_stride = 0;
  const float* gate = nullptr;  // device, [num_tokens]; null: the shared rows are not scaled
  int64_t gate_stride = 0;
  __nv_bfloat16* out = nullptr;  // device, [num_tokens, width]
  int64_t out_stride = 0;
  int32_t num_tokens = 0;
  int32_t experts_per_token = 0;
  int32_t width = 0;  // a multiple of 8
};
cudaError_t LaunchCombineExperts(const CombineExpertsParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
