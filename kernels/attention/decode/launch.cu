// Checks the parameters of a decode launch and picks its kernel instance. Host code only.

#include "kernels/attention/decode/launch.h"
#include "kernels/attention/decode/traits.cuh"
#include "kernels/common/status.h"

namespace pingti::kernels {
namespace {

using decode::LaunchInstance;
using decode::Traits;

using Launcher = cudaError_t (*)(const DecodeAttentionParams&, cudaStream_t);

// By row tiles: 1, 2, 4, 8.
template <bool kInt8, int kHeadDim>
constexpr Launcher kByRowTiles[4] = {
    LaunchInstance<Traits<kInt8, kHeadDim, 1>>, LaunchInstance<Traits<kInt8, kHeadDim, 2>>,
    LaunchInstance<Traits<kInt8, kHeadDim, 4>>, LaunchInstance<Traits<kInt8, kHeadDim, 8>>};

template <bool kInt8>
const Launcher* ByHeadDim(int head_dim) {
  if (head_dim == 64) return kByRowTiles<kInt8, 64>;
  if (head_dim == 128) return kByRowTiles<kInt8, 128>;
  return nullptr;
}

// Null if no instance was built for the combination.
Launcher FindLauncher(const DecodeAttentionParams& p) {
  const bool int8_kv = p.kv.dtype == DType::kI8;
  if (!int8_kv && p.kv.dtype != DType::kBf16) return nullptr;
  const int rows = p.shape.max_q_len * (p.shape.num_q_heads / p.shape.num_kv_heads);
  if (int8_kv && rows <= 8) {
    if (p.kv.head_dim == 64) return LaunchInstance<Traits<true, 64, 0>>;
    if (p.kv.head_dim == 128) return LaunchInstance<Traits<true, 128, 0>>;
  }
  const Launcher* by_row_tiles =
      int8_kv ? ByHeadDim<true>(p.kv.head_dim) : ByHeadDim<false>(p.kv.head_dim);
  if (by_row_tiles == nullptr) return nullptr;
  return by_row_tiles[rows <= 16 ? 0 : rows <= 32 ? 1 : rows <= 64 ? 2 : 3];
}

bool ValidKv(const PagedKv& kv, const DecodeShape& shape) {
  const int vector = 16 / ElementBytes(kv.dtype);  // elements of a 16-byte load
  const bool power_of_two = (kv.page_tokens & (kv.page_tokens - 1)) == 0;
  if (kv.num_kv_heads != shape.num_kv_heads || kv.num_pages <= 0 || !power_of_two ||
      kv.page_tokens < 16 || kv.page_tokens > 256) {
    return false;
  }
  if (!IsPresent(kv.k, 16) || !IsPresent(kv.v, 16) || !IsPresent(kv.block_table, 4)) return false;
  if (kv.dtype == DType::kI8 && (!IsPresent(kv.k_scale, 16) || !IsPresent(kv.v_scale, 16) ||
                                 kv.scale_page_stride % 4 != 0 || kv.scale_head_stride % 4 != 0)) {
    return false;
  }
  return kv.token_stride % vector == 0 && kv.head_stride % vector == 0 &&
         kv.page_stride % vector == 0;
}

bool ValidQuery(const DecodeAttentionParams& p) {
  return IsPresent(p.q, 4) && p.q_token_stride % 2 == 0 && p.q_head_stride % 2 == 0 &&
         IsPresent(p.out, 8) && p.out_token_stride % 4 == 0 && p.out_head_stride % 4 == 0 &&
         p.softmax_scale > 0.0f;
}

bool ValidShape(const DecodeShape& shape) {
  return shape.num_seqs >= 0 && shape.num_seqs <= kMaxDecodeSequences && shape.num_kv_heads > 0 &&
         shape.num_q_heads > 0 && shape.num_q_heads % shape.num_kv_heads == 0 &&
         shape.max_q_len >= 1 && shape.max_q_len <= kMaxDecodeQueryTokens &&
         shape.max_q_len * (shape.num_q_heads / shape.num_kv_heads) <= kMaxDecodeRows;
}

}  // namespace

cudaError_t DecodeWorkspaceBytes(const DecodeShape& shape, int head_dim, size_t* bytes) {
  if (!ValidShape(shape) || head_dim <= 0 || bytes == nullptr) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  const int rows = shape.max_q_len * (shape.num_q_heads / shape.num_kv_heads);
  *bytes = 2 * static_cast<size_t>(device.num_sms) * decode::PartialFloats(rows, head_dim) *
           sizeof(float);
  return cudaSuccess;
}

cudaError_t LaunchDecodeAttention(const DecodeAttentionParams& params, cudaStream_t stream) {
  if (!ValidShape(params.shape)) return cudaErrorInvalidValue;
  if (params.shape.num_seqs == 0) return cudaSuccess;
  const Launcher launcher = FindLauncher(params);
  if (launcher == nullptr) return cudaErrorNotSupported;
  if (!ValidKv(params.kv, params.shape) || !ValidQuery(params) || params.plan == nullptr ||
      !IsPresent(params.workspace, 16) || params.shape.kv_lens == nullptr) {
    return cudaErrorInvalidValue;
  }
  return launcher(params, stream);
}

}  // namespace pingti::kernels
