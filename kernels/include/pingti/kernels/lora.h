// Low-rank adapters of a product, many in one step (Hu et al., "LoRA"; Chen et al., "Punica:
// Multi-Tenant LoRA Serving", for rows of many adapters in one launch):
//
//   y[t, n] = sum over r of (sum over k of x[t, k] A[slot(t), k, r]) B[slot(t), n, r]
//
// in two launches: shrink, which leaves x A^T in f32 in several parts, and expand, which adds the
// parts up, rounds them to bf16 and multiplies them with B. Of an embedding x is a token, as the
// unit vector of its id, and pick takes the place of shrink. Each starts beside the kernel before
// it and has read its weights when that one ends. y may be the output of the product that adapters
// change, which then adds its own to what is there (beta of cuBLASLt, the residual of gemm_s8.h and
// gemm_w4a16.h), or be added to it afterwards. Rows come in tiles of one adapter, listed in device
// memory, so that a recorded graph serves any mix of adapters. A row's result depends on no other
// row. Host only. Next: kernels/lora/shrink.cu, pick.cu, expand.cu.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"

namespace pingti::kernels {

inline constexpr int kLoraTileRows = 16;
inline constexpr int kLoraRankStep = 16;  // matrices are filled up with zeros to a multiple of it
inline constexpr int kMaxLoraRank = 256;
inline constexpr int kMaxLoraParts = 8;

// Which rows have which adapters. Tiles hold rows of one slot each. Rows without an adapter are in
// tiles of slot -1 and become zeros in y; a row in no tile is left as it is.
struct LoraTiles {
  // device, [num_tiles, kLoraTileRows]; -1: no row. A tile's rows come first in it.
  const int32_t* rows = nullptr;
  const int32_t* slots = nullptr;  // device, [num_tiles]
  int32_t num_tiles = 0;           // that are launched
};

// In how many parts shrink leaves sums over so many inputs: of them alone, so that neighbours in a
// batch do not change how a row is added up. Pick leaves one part.
int LoraSplits(int32_t in_features);

struct LoraShrinkParams {
  LoraTiles tiles;
  const void* x = nullptr;  // device, [rows, in_features]
  int64_t x_stride = 0;     // elements between rows, a multiple of 8
  // device, [slots] of [num_modules, max_rank, in_features]; rows of a module from its rank on are
  // zeros up to a multiple of kLoraRankStep, and not used beyond.
  const void* a = nullptr;
  int64_t a_slot_stride = 0;       // elements between slots, a multiple of 8
  const int32_t* ranks = nullptr;  // device, [slots] of [num_modules]; 0: nothing is added
  int64_t ranks_slot_stride = 0;   // elements between slots
  // device, f32 [LoraSplits(in_features), num_tiles * kLoraTileRows, num_modules * max_rank];
  // written for a module's ranks, rounded up to kLoraRankStep.
  float* shrunk = nullptr;
  int32_t in_features = 0;  // a multiple of 8
  int32_t num_modules = 0;
  int32_t max_rank = 0;        // a multiple of kLoraRankStep, at most kMaxLoraRank
  DType dtype = DType::kBf16;  // of x and A: kBf16
};

struct LoraPickParams {
  LoraTiles tiles;
  const int32_t* token_ids = nullptr;  // device, [rows]
  int32_t first_id = 0;                // of in_features ids that A has; others get zeros
  const void* a = nullptr;             // device, as shrink has it, of one module
  int64_t a_slot_stride = 0;
  const int32_t* ranks = nullptr;  // as shrink has them
  int64_t ranks_slot_stride = 0;
  float* shrunk = nullptr;  // device, f32 [num_tiles * kLoraTileRows, max_rank], as shrink's
  int32_t in_features = 0;
  int32_t max_rank = 0;
  DType dtype = DType::kBf16;  // of A: kBf16
};

struct LoraExpandParams {
  LoraTiles tiles;
  const float* shrunk = nullptr;  // as shrink wrote it
  int num_splits = 0;
  const void* b = nullptr;         // device, [slots] of [out_features, max_rank], zeros as in A
  int64_t b_slot_stride = 0;       // elements between slots, a multiple of 4
  const int32_t* ranks = nullptr;  // as shrink has them
  int64_t ranks_slot_stride = 0;
  void* y = nullptr;        // device, [rows, out_features]
  int64_t y_stride = 0;     // elements between rows, a multiple of 8
  bool accumulate = false;  // onto y, not in its place; rows of slot -1 stay as they are
  int32_t out_features = 0;
  int32_t num_modules = 0;
  int32_t max_rank = 0;
  // Columns of the product by module: part i ends before part_end[i], a multiple of 8.
  int32_t part_end[kMaxLoraParts] = {};
  int32_t part_module[kMaxLoraParts] = {};
  int32_t num_parts = 0;
  DType dtype = DType::kBf16;    // of B: kBf16
  DType y_dtype = DType::kBf16;  // kBf16 or kF32
};

// x, A, B, y and shrunk 16-byte aligned. No tiles: nothing is done. cudaErrorInvalidValue: a null
// pointer, misalignment, or a size outside the ranges above; cudaErrorNotSupported: another dtype.
cudaError_t LaunchLoraShrink(const LoraShrinkParams& params, cudaStream_t stream);
cudaError_t LaunchLoraPick(const LoraPickParams& params, cudaStream_t stream);
cudaError_t LaunchLoraExpand(const LoraExpandParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
