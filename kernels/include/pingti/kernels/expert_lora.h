// Low-rank adapters of a product of rows with their experts' matrices (moe.h; lora.h for adapters):
//
//   y[r, n] += sum over i of (sum over k of x[r, k] A[slot, expert, i, k]) B[slot, expert, n, i]
//
// of the slot of row r's token and the row's expert, in two launches: shrink, which leaves x A^T in
// f32, and expand. Rows are in the order of experts, as LaunchSortExpertRows leaves them, and which
// of them there are is read on the device, so that a recorded graph serves any choice and any mix
// of adapters. A row's result depends on no other row. Host only.
// Next: kernels/lora/expert_shrink.cu, expert_expand.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/lora.h"

namespace pingti::kernels {

// Rows of a choice of experts, in device memory; see SortExpertRowsParams.
struct ExpertLoraRows {
  const int32_t* token_of = nullptr;  // [max_rows]
  const int2* span_of = nullptr;      // [max_rows], of which the expert is read
  const int32_t* num_rows = nullptr;  // how many there are
  const int32_t* slot_of = nullptr;   // of each token: the slot of its adapter; -1: it has none
  int32_t max_rows = 0;
};

struct ExpertLoraShrinkParams {
  ExpertLoraRows rows;
  const void* x = nullptr;  // device, bf16, a row per token or per row
  int64_t x_stride = 0;     // elements between rows, a multiple of 8
  bool x_by_token = false;  // row r reads x[token_of[r]], not x[r]
  const void* a = nullptr;  // device, bf16 [slots] of [experts, num_modules, max_rank, in_features]
  int64_t a_slot_stride = 0;       // elements between slots, a multiple of 8
  const int32_t* ranks = nullptr;  // device, [slots] of [experts, num_modules]; 0: nothing is added
  int64_t ranks_slot_stride = 0;   // elements between slots
  // device, f32 [max_rows, num_modules * max_rank]; written for rows that have an adapter and a
  // module's rank, rounded up to kLoraRankStep, up to which A has zeros.
  float* shrunk = nullptr;
  int32_t in_features = 0;  // a multiple of 8
  int32_t num_modules = 0;
  int32_t max_rank = 0;  // a multiple of kLoraRankStep, at most kMaxLoraRank
};

struct ExpertLoraExpandParams {
  ExpertLoraRows rows;
  const float* shrunk = nullptr;   // as shrink wrote it
  const void* b = nullptr;         // device, bf16 [slots] of [experts, out_features, max_rank]
  int64_t b_slot_stride = 0;       // elements between slots, a multiple of 8
  const int32_t* ranks = nullptr;  // as shrink has them
  int64_t ranks_slot_stride = 0;
  void* y = nullptr;     // device, bf16 [max_rows, out_features], added to
  int64_t y_stride = 0;  // elements between rows
  int32_t out_features = 0;
  int32_t num_modules = 0;
  int32_t max_rank = 0;
  // Columns of one expert by module: part i ends before part_end[i].
  int32_t part_end[kMaxLoraParts] = {};
  int32_t part_module[kMaxLoraParts] = {};
  int32_t num_parts = 0;
};

// x, A, B and shrunk 16-byte aligned. No rows: nothing is done. cudaErrorInvalidValue: a null
// pointer, misalignment, or a size outside the ranges above.
cudaError_t LaunchExpertLoraShrink(const ExpertLoraShrinkParams& params, cudaStream_t stream);
cudaError_t LaunchExpertLoraExpand(const ExpertLoraExpandParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
