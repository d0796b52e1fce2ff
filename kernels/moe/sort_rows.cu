// Rows by expert: see SortExpertRowsParams in moe.h. A counting sort in one launch and without
// atomics, so that the order is the same in every run.
//
// Grid: a block per expert that has rows, which reads all choices twice: first it counts, by warp,
// its own ones and those of lower experts, then it places its own ones. Each warp has a stretch of
// the choices. Choices of other experts are divided among all threads, and the last expert's block
// marks the rows that nobody took.
// Bytes: 8 * num_experts * choices read (from L2), 16 * choices written. Architectures: sm_80 and
// newer; on sm_90 its start overlaps the kernel before it (overlap.h).

#include "kernels/common/mbarrier.cuh"
#include "kernels/common/overlap.h"
#include "kernels/common/status.h"
#include "pingti/kernels/moe.h"

namespace pingti::kernels {
namespace {

constexpr int kWarps = 8;
constexpr unsigned kAll = 0xffffffffu;

// Choices of experts that have no rows.
__device__ __forceinline__ void MarkOthers(const SortExpertRowsParams& p, int choices) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < choices; i += gridDim.x * blockDim.x) {
    const int expert = p.experts[i] - p.first_expert;
    if (expert < 0 || expert >= p.num_experts) p.row_of[i] = -1;
  }
}

__global__ void __launch_bounds__(32 * kWarps) SortRowsKernel(const SortExpertRowsParams p) {
  __shared__ int own_of[kWarps];
  __shared__ int lower_of[kWarps];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  LetNextKernelStart();
  WaitForPriorKernels();
#endif
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int expert = p.first_expert + blockIdx.x;
  const int choices = p.num_tokens * p.experts_per_token;
  const int stretch = (choices + 32 * kWarps - 1) / (32 * kWarps) * 32;
  const int begin = min(choices, warp * stretch);
  const int end = min(choices, begin + stretch);
  int own = 0;
  int lower = 0;
  for (int i = begin; i < end; i += 32) {
    const int chosen = i + lane < end ? p.experts[i + lane] : kMaxExperts;
    own += __popc(__ballot_sync(kAll, chosen == expert));
    lower += __popc(__ballot_sync(kAll, chosen >= p.first_expert && chosen < expert));
  }
  if (lane == 0) {
    own_of[warp] = own;
    lower_of[warp] = lower;
  }
  __syncthreads();
  int row = 0;  // of the warp's first choice
  int first = 0;
  int last = 0;  // the row after the expert's last one
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    row += lower_of[w] + (w < warp ? own_of[w] : 0);
    first += lower_of[w];
    last += lower_of[w] + own_of[w];
  }
  if (threadIdx.x == 0) p.first_row[blockIdx.x] = first;
  MarkOthers(p, choices);
  if (blockIdx.x == p.num_experts - 1) {
    if (threadIdx.x == 0) p.first_row[p.num_experts] = last;
    const int rows = p.num_tokens * min(p.experts_per_token, p.num_experts);
    for (int i = last + threadIdx.x; i < rows; i += blockDim.x) p.span_of[i] = make_int2(0, 0);
  }
  for (int i = begin; i < end; i += 32) {
    const bool mine = i + lane < end && p.experts[i + lane] == expert;
    const unsigned all = __ballot_sync(kAll, mine);
    if (mine) {
      const int at = row + __popc(all & ((1u << lane) - 1));
      p.row_of[i + lane] = at;
      p.token_of[at] = (i + lane) / p.experts_per_token;
      p.span_of[at] = make_int2(blockIdx.x, at == first ? last : 0);
    }
    row += __popc(all);
  }
}

}  // namespace

cudaError_t LaunchSortExpertRows(const SortExpertRowsParams& p, cudaStream_t stream) {
  if (p.num_tokens < 0 || p.first_expert < 0 || p.num_experts < 1 ||
      p.num_experts > kMaxExperts - p.first_expert || p.experts_per_token < 1 ||
      p.num_tokens > INT32_MAX / p.experts_per_token - 1024) {
    return cudaErrorInvalidValue;
  }
  if (p.num_tokens == 0) return cudaSuccess;
  if (p.experts == nullptr || p.row_of == nullptr || p.token_of == nullptr ||
      p.first_row == nullptr || p.span_of == nullptr) {
    return cudaErrorInvalidValue;
  }
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  return LaunchOverlapped(SortRowsKernel, dim3(p.num_experts), dim3(32 * kWarps), 0, stream,
                          device.compute_capability, p);
}

}  // namespace pingti::kernels
