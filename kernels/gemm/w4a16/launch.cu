// Dispatch of the weight-only GEMM: parameter checks, slices of at most 64 tokens, and the choice
// of the instantiation by bit width, tokens and group size. Host code only.
#include <algorithm>
#include <cstdint>

#include "kernels/common/status.h"
#include "kernels/gemm/w4a16/launch.h"
#include "pingti/kernels/gemm_w4a16.h"

namespace pingti::kernels {
namespace {

bool IsValid(const GemmW4A16Params& p) {
  const bool sizes =
      p.m >= 0 && p.n >= 0 && p.k > 0 && p.n % 8 == 0 && p.k % 8 == 0 && p.group_size > 0;
  if (!sizes || p.workspace_bytes < GemmW4A16WorkspaceBytes() || !IsAligned(p.workspace, 256)) {
    return false;
  }
  if (p.m == 0 || p.n == 0) return true;
  return p.a != nullptr && IsAligned(p.a, 16) && p.a_row_stride % 8 == 0 && p.a_row_stride >= p.k &&
         p.packed != nullptr && IsAligned(p.packed, 16) && p.scales != nullptr &&
         IsAligned(p.scales, 16) && IsAligned(p.zeros, 8) &&
         (p.y != nullptr) != (p.y_f32 != nullptr) && IsAligned(p.y, 4) && p.y_row_stride % 2 == 0 &&
         p.y_row_stride >= p.n && IsAligned(p.residual, 4) && p.residual_row_stride % 2 == 0 &&
         p.workspace != nullptr;
}

template <int kBits, int kTokens>
cudaError_t LaunchSteps(const GemmW4A16Args& args, cudaStream_t stream) {
  switch (args.group_size) {
    case 32:
      return LaunchGemmW4A16As<kBits, kTokens, 2>(args, stream);
    case 64:
      return LaunchGemmW4A16As<kBits, kTokens, 4>(args, stream);
    default:
      return args.group_size % kPackedK == 0 ? LaunchGemmW4A16As<kBits, kTokens, 8>(args, stream)
                                             : cudaErrorNotSupported;
  }
}

template <int kBits>
cudaError_t LaunchTokens(const GemmW4A16Args& args, cudaStream_t stream) {
  if (args.m <= 8) return LaunchSteps<kBits, 8>(args, stream);
  if (args.m <= 16) return LaunchSteps<kBits, 16>(args, stream);
  if (args.m <= 32) return LaunchSteps<kBits, 32>(args, stream);
  return LaunchSteps<kBits, 64>(args, stream);
}

}  // namespace

size_t GemmW4A16WorkspaceBytes() { return kGemmW4A16WorkspaceBytes; }

cudaError_t LaunchGemmW4A16(const GemmW4A16Params& p, cudaStream_t stream) {
  if (!IsValid(p)) return cudaErrorInvalidValue;
  if (p.m == 0 || p.n == 0) return cudaSuccess;
  auto* bytes = static_cast<uint8_t*>(p.workspace);
  // One group for all of k is a group of whole chunks.
  const int group_size = p.group_size >= p.k ? CeilDiv(p.k, kPackedK) * kPackedK : p.group_size;
  for (int first = 0; first < p.m; first += kGemmW4A16MaxTokens) {
    const GemmW4A16Args args = {
        std::min(kGemmW4A16MaxTokens, p.m - first),
        p.n,
        p.k,
        group_size,
        p.a + first * p.a_row_stride,
        p.a_row_stride,
        static_cast<const uint4*>(p.packed),
        static_cast<const uint16_t*>(p.scales),
        p.n,
        p.scale_type == ScaleType::kBf16,
        p.zeros,
        p.bias,
        p.residual != nullptr ? p.residual + first * p.residual_row_stride : nullptr,
        p.residual_row_stride,
        p.y != nullptr ? p.y + first * p.y_row_stride : nullptr,
        p.y_f32 != nullptr ? p.y_f32 + first * p.y_row_stride : nullptr,
        p.y_row_stride,
        reinterpret_cast<uint32_t*>(bytes),
        reinterpret_cast<float*>(bytes + kGemmW4A16CounterBytes),
    };
    PINGTI_CUDA_RETURN(p.bits == WeightBits::k4 ? LaunchTokens<4>(args, stream)
                                                : LaunchTokens<8>(args, stream));
  }
  return cudaSuccess;
}

}  // namespace pingti::kernels
