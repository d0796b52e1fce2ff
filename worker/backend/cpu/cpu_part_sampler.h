// Writes the records of sampling_parts.h on the CPU: what a rank says of the logits that it has of
// a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/logit_row.h"
#include "worker/backend/sampling_parts.h"

namespace pingti::worker::cpu {

// Scratch for one thread; confined to it.
class CpuPartSampler {
 public:
  CpuPartSampler(const CpuKernels* kernels, int64_t part_size);

  // logits: raw, of the tokens from `first_token` on. record: [layout.cols()].
  // REQUIRES: DrawsFromParts(row); `first_token` is a multiple of kTokensPerDraw.
  void Describe(std::span<const float> logits, int64_t first_token, const SamplingRow& row,
                const PartsLayout& layout, float* record);

 private:
  void DescribeRaw(std::span<const float> logits, int64_t first_token, const SamplingRow& row,
                   PartSummary* summary, std::span<PartTop> top);

  const CpuKernels* const kernels_;
  std::vector<float> adjusted_;
  std::vector<TokenLogit> top_;
};

}  // namespace pingti::worker::cpu
