// Checks a prefill launch and picks the specialisation. Host code only.
// Next: sm90_kernel.cuh and sm80_kernel.cuh (the kernels), plan.cu (the order of work).
#include <bit>

#include "kernels/attention/prefill/plan.h"
#include "kernels/attention/prefill/variants.h"
#include "kernels/common/status.h"

namespace pingti::kernels {
namespace {

using Launcher = cudaError_t (*)(const PrefillAttentionParams&, cudaStream_t);

struct Variant {
  DType dtype;
  int head_dim;
  Launcher sm90;
  Launcher sm80;
};

constexpr Variant kVariants[] = {
    {DType::kBf16, 128, prefill::LaunchSm90<128>, prefill::LaunchSm80<128>},
    {DType::kBf16, 64, prefill::LaunchSm90<64>, prefill::LaunchSm80<64>},
};

// The portable kernel with transformed scores; null if none was built for the head size.
Launcher FindTransform(const PagedKv& kv) {
  if (kv.dtype != DType::kBf16) return nullptr;
  if (kv.head_dim == 64) return prefill::LaunchSm80<64, true>;
  if (kv.head_dim == 128) return prefill::LaunchSm80<128, true>;
  return nullptr;
}

bool Aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

bool ValidKv(const PagedKv& kv) {
  const bool power_of_two = kv.page_tokens > 0 && std::has_single_bit<uint32_t>(kv.page_tokens);
  return power_of_two && kv.page_tokens >= 16 && kv.page_tokens <= 256 && kv.num_pages > 0 &&
         kv.num_kv_heads > 0 && kv.k != nullptr && kv.v != nullptr && Aligned16(kv.k) &&
         Aligned16(kv.v) && kv.block_table != nullptr && kv.token_stride % 8 == 0 &&
         kv.head_stride % 8 == 0 && kv.page_stride % 8 == 0 && kv.token_stride >= kv.head_dim;
}

bool ValidParams(const PrefillAttentionParams& params) {
  const bool pointers = params.q != nullptr && params.out != nullptr && Aligned16(params.q) &&
                        Aligned16(params.out) && params.q_start != nullptr &&
                        params.kv_len != nullptr && params.workspace != nullptr;
  const bool strides = params.q_token_stride % 8 == 0 && params.q_head_stride % 8 == 0 &&
                       params.out_token_stride % 8 == 0 && params.out_head_stride % 8 == 0;
  const bool heads = params.num_q_heads > 0 && params.num_q_heads % params.kv.num_kv_heads == 0;
  const bool masks = params.window >= 0 && (params.window == 0 || params.causal);
  return pointers && strides && heads && masks && params.softmax_scale > 0 &&
         params.logit_softcap >= 0 && IsAligned(params.alibi_slopes, 4) &&
         IsAligned(params.sinks, 4) &&
         params.workspace_bytes >=
             PrefillAttentionWorkspaceBytes(params.total_q_tokens, params.num_seqs);
}

}  // namespace

cudaError_t LaunchPrefillAttention(const PrefillAttentionParams& params, cudaStream_t stream) {
  if (params.num_seqs < 0 || params.num_seqs > kMaxPrefillSeqs || params.total_q_tokens < 0) {
    return cudaErrorInvalidValue;
  }
  if (params.num_seqs == 0 || params.total_q_tokens == 0) return cudaSuccess;
  if (!ValidKv(params.kv) || !ValidParams(params)) return cudaErrorInvalidValue;
  DeviceTraits device;
  PINGTI_CUDA_RETURN(ReadDeviceTraits(&device));
  if (device.compute_capability < 80) return cudaErrorNotSupported;
  if (prefill::TransformsScores(params)) {
    const Launcher launcher = FindTransform(params.kv);
    return launcher == nullptr ? cudaErrorNotSupported : launcher(params, stream);
  }
  // sm_90a code runs on 9.0 alone; newer cards take the portable path.
  const bool sm90 = device.compute_capability == 90;
  for (const Variant& variant : kVariants) {
    if (variant.dtype == params.kv.dtype && variant.head_dim == params.kv.head_dim) {
      return (sm90 ? variant.sm90 : variant.sm80)(params, stream);
    }
  }
  return cudaErrorNotSupported;
}

}  // namespace pingti::kernels
