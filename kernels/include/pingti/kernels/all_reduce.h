// Sums over the GPUs of one host, for decode: all-reduce alone, and all-reduce with residual add,
// RMS norm and int8 quantization in the same kernel; and all-gather. Host only. Next:
// all_reduce_group.h, which makes the memory that ranks share; kernels/comm/exchange.cuh for how it
// works.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pingti/kernels/dtype.h"
#include "pingti/kernels/norm.h"

namespace pingti::kernels {

inline constexpr int kMaxAllReduceRanks = 8;

struct AllReduceState;  // a rank's own, on its device
struct AllReduceBoard;  // the group's, in host memory that every device sees

// What one rank needs to reach its group: given out by AllReduceGroup.
struct AllReduceLink {
  int32_t rank = 0;
  int32_t num_ranks = 0;                   // 2, 4 or 8
  void* receive[kMaxAllReduceRanks] = {};  // rank r's receive memory, as this device sees it
  int64_t buffer_bytes = 0;                // of each of the three buffers there
  AllReduceState* state = nullptr;
  AllReduceBoard* board = nullptr;
  uint32_t timeout_us = 0;  // of a wait for peers; then the group is aborted
  // Blocks of a launch, all of which must be on the device at once with those of every other rank
  // that shares the device. 0: the rank has the device for itself.
  int32_t max_blocks = 0;
};

// How a launch is cut. Whatever is 0 is chosen (kernels/comm/choose.h); for benches and tests.
struct AllReduceShape {
  int32_t shots = 0;    // 1: every rank sums everything; 2: each sums a stretch and hands it out
  int32_t threads = 0;  // of a block, a multiple of 128, at most 512; of sums without norm
  int32_t cluster = 0;  // blocks for each row: 1, 2, 4 or 8; of sums with norm
  int32_t blocks = 0;   // at most; at least one cluster is launched
};

// out = sum over ranks of x, added in rank order in float and rounded once: all ranks get the same
// bits, whatever the shape. Every rank launches the same calls in the same order, each on one
// stream at a time; a call waits on the device for all ranks, and for at most timeout_us.
struct AllReduceParams {
  AllReduceLink link;
  const void* x = nullptr;  // device, [rows, cols]
  int64_t x_stride = 0;     // elements between rows
  void* out = nullptr;      // device, [rows, cols]; may be x
  int64_t out_stride = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kBf16;  // kBf16 or kF32
  AllReduceShape shape;
};

// May be captured and replayed: which buffer's turn it is, is counted on the device. Matrices
// larger than a buffer take several kernels. Fastest where rows are aligned to 16 bytes.
// cudaErrorInvalidValue: a null pointer or a size below 0; cudaErrorNotSupported: another dtype or
// number of ranks.
cudaError_t LaunchAllReduce(const AllReduceParams& params, cudaStream_t stream);

// The columns are as many equal stretches as there are ranks; stretch r of every rank's matrix =
// stretch r of rank r's. A NaN may become another NaN. Ranks, order, stream and time as above.
struct AllGatherParams {
  AllReduceLink link;
  void* matrix = nullptr;  // device, [rows, cols]
  int64_t stride = 0;      // elements between rows
  int64_t rows = 0;
  int64_t cols = 0;            // a multiple of the number of ranks
  DType dtype = DType::kBf16;  // kBf16 or kF32
  AllReduceShape shape;        // shots and cluster are not looked at
};

// Conditions and errors as for LaunchAllReduce.
cudaError_t LaunchAllGather(const AllGatherParams& params, cudaStream_t stream);

// norm.x = sum over ranks of norm.x, rounded to norm.dtype, and of that what RmsNormParams says;
// the sum itself is not written. norm.dtype: kBf16.
struct AllReduceRmsNormParams {
  AllReduceLink link;
  RmsNormParams norm;
  AllReduceShape shape;
};

// As LaunchAllReduce and LaunchRmsNorm together. Also cudaErrorNotSupported: rows longer than
// 8192 before sm_90.
cudaError_t LaunchAllReduceRmsNorm(const AllReduceRmsNormParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
