// See attention_reference.h. Grid: (query row, head); block: 256 threads. Two passes over the keys:
// the row's maximum, then sums; no rescaling, so nothing in common with the kernels under test.
#include <cuda_bf16.h>

#include <cmath>

#include "tests/kernels/attention/attention_reference.h"

namespace pingti::kernels::testing {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kThreads = 256;

__device__ double Load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float Round(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }

struct Row {
  const PrefillAttentionParams& params;
  int seq;
  int head;
  int position;  // of the query

  __device__ const Bf16* Token(const void* pool, int token) const {
    const PagedKv& kv = params.kv;
    const int page = kv.block_table[seq * kv.block_table_stride + token / kv.page_tokens];
    const int kv_head = head / (params.num_q_heads / kv.num_kv_heads);
    return static_cast<const Bf16*>(pool) + page * kv.page_stride + kv_head * kv.head_stride +
           token % kv.page_tokens * kv.token_stride;
  }
  // Acc: double or float.
  template <typename Acc>
  __device__ Acc Score(const Bf16* q, int token) const {
    const Bf16* k = Token(params.kv.k, token);
    Acc sum = 0;
    for (int d = 0; d < params.kv.head_dim; ++d) {
      sum += static_cast<Acc>(Load(q[d])) * static_cast<Acc>(Load(k[d]));
    }
    sum *= static_cast<Acc>(params.softmax_scale);
    const Acc cap = params.logit_softcap;
    if (cap != 0) sum = cap * tanh(sum / cap);
    if (params.alibi_slopes != nullptr) {
      sum += static_cast<Acc>(params.alibi_slopes[head]) * static_cast<Acc>(token - position);
    }
    return sum;
  }
};

template <typename Acc>
__global__ void ReferenceKernel(const PrefillAttentionParams params, double* out) {
  __shared__ Acc p[kThreads];
  __shared__ Acc reduce[kThreads];
  const int row = blockIdx.x;
  const int head = blockIdx.y;
  if (row >= params.q_start[params.num_seqs]) return;
  int seq = 0;
  while (params.q_start[seq + 1] <= row) ++seq;
  const int kv_len = params.kv_len[seq];
  const int position = kv_len - (params.q_start[seq + 1] - row);
  const int end = params.causal ? min(kv_len, position + 1) : kv_len;
  const int begin = params.window > 0 ? max(position - params.window + 1, 0) : 0;
  const Row keys{params, seq, head, position};
  const Bf16* q = static_cast<const Bf16*>(params.q) + row * params.q_token_stride +
                  head * params.q_head_stride;
  const int thread = threadIdx.x;

  Acc highest = -INFINITY;
  for (int j = begin + thread; j < end; j += kThreads) {
    highest = max(highest, keys.Score<Acc>(q, j));
  }
  reduce[thread] = highest;
  __syncthreads();  // all partial maxima are there
  for (int i = 0; i < kThreads; ++i) highest = max(highest, reduce[i]);

  Acc sum = 0;
  Acc o = 0;
  for (int first = begin; first < end; first += kThreads) {
    __syncthreads();  // readers of the last p are done
    const int j = first + thread;
    p[thread] = j < end ? exp(keys.Score<Acc>(q, j) - highest) : Acc(0);
    __syncthreads();  // p is complete
    for (int i = 0; i < kThreads; ++i) {
      if (first + i >= end) break;
      sum += p[i];
      if (thread >= params.kv.head_dim) continue;
      Acc weight = p[i];
      if (sizeof(Acc) == 4) weight = Round(weight);
      o += weight * static_cast<Acc>(Load(keys.Token(params.kv.v, first + i)[thread]));
    }
  }
  if (thread >= params.kv.head_dim) return;
  Acc result = sum > 0 ? o / sum : Acc(0);
  if (sizeof(Acc) == 4) result = Round(result);
  const int64_t dense_row = static_cast<int64_t>(row) * params.num_q_heads + head;
  out[dense_row * params.kv.head_dim + thread] = result;
}

}  // namespace

cudaError_t AttentionReference(const PrefillAttentionParams& params, Precision precision,
                               double* out, cudaStream_t stream) {
  if (params.num_seqs == 0 || params.total_q_tokens == 0) return cudaSuccess;
  const dim3 grid(params.total_q_tokens, params.num_q_heads);
  if (params.kv.dtype != DType::kBf16) return cudaErrorNotSupported;
  auto* kernel = precision == Precision::kLow ? ReferenceKernel<float> : ReferenceKernel<double>;
  kernel<<<grid, kThreads, 0, stream>>>(params, out);
  return cudaGetLastError();
}

}  // namespace pingti::kernels::testing
