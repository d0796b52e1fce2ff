// See latent_reference.h. Grid: (query row, head); block: a thread per value column. Two passes
// over the tokens: the row's maximum, then sums; nothing in common with the kernel under test.
#include <cuda_bf16.h>

#include <cmath>

#include "tests/kernels/attention/latent/latent_reference.h"

namespace pingti::kernels::testing {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kThreads = kLatentValueDim;

// A token's cached elements.
class Latent {
 public:
  __device__ Latent(const PagedKv& kv, int seq, int token) : int8_(kv.dtype == DType::kI8) {
    const int page = kv.block_table[seq * kv.block_table_stride + token / kv.page_tokens];
    const int offset = token % kv.page_tokens;
    const auto* base = static_cast<const uint8_t*>(kv.k) + page * kv.page_stride * (int8_ ? 1 : 2);
    row_ = base + offset * kv.token_stride * (int8_ ? 1 : 2);
    scales_ = reinterpret_cast<const Bf16*>(base + kv.page_tokens * kLatentInt8RowBytes) +
              offset * kLatentScales;
  }

  __device__ double operator[](int dim) const {
    if (!int8_) return __bfloat162float(reinterpret_cast<const Bf16*>(row_)[dim]);
    if (dim >= kLatentValueDim) {
      return __bfloat162float(
          reinterpret_cast<const Bf16*>(row_ + kLatentValueDim)[dim - kLatentValueDim]);
    }
    const float value = reinterpret_cast<const int8_t*>(row_)[dim];
    return __bfloat162float(
        __float2bfloat16(value * __bfloat162float(scales_[dim / kLatentScaleGroup])));
  }

 private:
  const bool int8_;
  const uint8_t* row_;
  const Bf16* scales_;  // of int8
};

__device__ double Score(const double* q, const Latent& latent, double scale) {
  double sum = 0;
  for (int d = 0; d < kLatentKeyDim; ++d) sum += q[d] * latent[d];
  return sum * scale;
}

__global__ void ReferenceKernel(const LatentPrefillParams params, double* out) {
  __shared__ double q[kLatentKeyDim];
  __shared__ double shared[kThreads];
  const LatentTensors& t = params.tensors;
  const int row = blockIdx.x;
  const int head = blockIdx.y;
  const int thread = threadIdx.x;
  if (row >= params.q_start[params.num_seqs]) return;
  int seq = 0;
  while (params.q_start[seq + 1] <= row) ++seq;
  const int kv_len = params.kv_len[seq];
  const int end = min(kv_len, kv_len - (params.q_start[seq + 1] - row) + 1);
  const Bf16* query =
      static_cast<const Bf16*>(t.q) + row * t.q_token_stride + head * t.q_head_stride;
  for (int d = thread; d < kLatentKeyDim; d += kThreads) q[d] = __bfloat162float(query[d]);
  __syncthreads();  // the query is there

  double highest = -INFINITY;
  for (int j = thread; j < end; j += kThreads) {
    highest = max(highest, Score(q, Latent(t.kv, seq, j), t.softmax_scale));
  }
  shared[thread] = highest;
  __syncthreads();  // all partial maxima are there
  for (int i = 0; i < kThreads; ++i) highest = max(highest, shared[i]);

  double sum = 0;
  double o = 0;
  for (int first = 0; first < end; first += kThreads) {
    __syncthreads();  // readers of the last weights are done
    const int j = first + thread;
    shared[thread] = j < end ? exp(Score(q, Latent(t.kv, seq, j), t.softmax_scale) - highest) : 0.0;
    __syncthreads();  // the weights are complete
    for (int i = 0; i < min(kThreads, end - first); ++i) {
      sum += shared[i];
      o += shared[i] * Latent(t.kv, seq, first + i)[thread];
    }
  }
  const int64_t dense_row = static_cast<int64_t>(row) * t.num_heads + head;
  out[dense_row * kLatentValueDim + thread] = sum > 0 ? o / sum : 0.0;
}

}  // namespace

cudaError_t LatentReference(const LatentPrefillParams& params, double* out, cudaStream_t stream) {
  if (params.num_seqs == 0 || params.tensors.num_rows == 0) return cudaSuccess;
  const dim3 grid(params.tensors.num_rows, params.tensors.num_heads);
  ReferenceKernel<<<grid, kThreads, 0, stream>>>(params, out);
  return cudaGetLastError();
}

}  // namespace pingti::kernels::testing
