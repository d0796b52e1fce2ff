#include "worker/backend/cpu/cpu_part_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>

#include "common/base/check.h"
#include "worker/backend/sampling_rng.h"

namespace pingti::worker::cpu {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

void Split(double sum, float* high, float* low) {
  *high = static_cast<float>(sum);
  *low = static_cast<float>(sum - static_cast<double>(*high));
}

double MassOf(std::span<const float> logits, float max, float inverse_temperature) {
  double mass = 0.0;
  for (const float logit : logits) {
    mass += std::exp((static_cast<double>(logit) - static_cast<double>(max)) *
                     static_cast<double>(inverse_temperature));
  }
  return mass;
}

}  // namespace

CpuPartSampler::CpuPartSampler(const CpuKernels* kernels, int64_t part_size)
    : kernels_(kernels), adjusted_(static_cast<size_t>(part_size)) {
  top_.reserve(static_cast<size_t>(std::max(kMaxPartCandidates, kMaxTopLogprobs)));
}

void CpuPartSampler::DescribeRaw(std::span<const float> logits, int64_t first_token,
                                 const SamplingRow& row, PartSummary* summary,
                                 std::span<PartTop> top) {
  bool has_nan = false;
  const auto size = static_cast<int64_t>(logits.size());
  const float max = logits[static_cast<size_t>(kernels_->argmax(logits.data(), size, &has_nan))];
  if (has_nan || max == -kNoLogit) summary->raw_is_finite = 0.0f;
  if (summary->raw_is_finite == 0.0f || max == kNoLogit) return;
  summary->raw_max = max;
  Split(kernels_->sum_exp(logits.data(), size, max, 1.0f), &summary->raw_sum_high,
        &summary->raw_sum_low);
  if (row.num_top_logprobs == 0) return;
  SelectTop(logits, first_token, row.num_top_logprobs, &top_);
  for (size_t i = 0; i < top_.size(); ++i) {
    top[i] = {top_[i].logit, static_cast<float>(top_[i].token_id)};
  }
}

void CpuPartSampler::Describe(std::span<const float> logits, int64_t first_token,
                              const SamplingRow& row, const PartsLayout& layout, float* record) {
  PINGTI_CHECK(first_token % kTokensPerDraw == 0);
  auto* const summary = std::construct_at(reinterpret_cast<PartSummary*>(record));
  const std::span candidates(reinterpret_cast<PartToken*>(record + layout.candidates_at()),
                             static_cast<size_t>(layout.candidates));
  const std::span top(reinterpret_cast<PartTop*>(record + layout.top_at()),
                      static_cast<size_t>(layout.top));
  std::uninitialized_fill(candidates.begin(), candidates.end(), PartToken{});
  std::uninitialized_fill(top.begin(), top.end(), PartTop{});
  if (logits.empty()) return;
  if (row.num_top_logprobs >= 0) DescribeRaw(logits, first_token, row, summary, top);
  std::span<const float> source = logits;
  if (HasProcessors(row)) {
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
    ApplyProcessors(row, first_token, adjusted_);
    source = adjusted_;
  }
  bool has_nan = false;
  const int64_t best =
      kernels_->argmax(source.data(), static_cast<int64_t>(source.size()), &has_nan);
  const float max = source[static_cast<size_t>(best)];
  if (has_nan || max == -kNoLogit) summary->is_finite = 0.0f;
  if (summary->is_finite == 0.0f || max == kNoLogit) return;

  const float inverse_temperature = Draws(row) ? InverseTemperature(row) : 1.0f;
  const auto describe = [&](float logit, int32_t token_id, float score) -> PartToken {
    const auto raw = logits[static_cast<size_t>(token_id - first_token)];
    return {logit, score, raw, static_cast<float>(token_id)};
  };
  const auto scored = [&](float logit, int32_t token_id) -> PartToken {
    if (!Draws(row)) return describe(logit, token_id, 0.0f);
    const float noise = TokenNoise(row.seed, row.position, token_id);
    return describe(logit, token_id, Score(logit, inverse_temperature, noise));
  };
  if (const int32_t wanted = NumPartCandidates(row); wanted == 1) {
    candidates[0] = scored(max, static_cast<int32_t>(first_token + best));
  } else {
    SelectTop(source, first_token, wanted, &top_);
    for (size_t i = 0; i < top_.size() && top_[i].logit != kNoLogit; ++i) {
      candidates[i] = scored(top_[i].logit, top_[i].token_id);
    }
  }
  if (!Draws(row) || DrawsFromTopK(row)) return;
  const ScoredToken drawn = DrawFromAll(source, first_token, row, best);
  summary->drawn = describe(source[static_cast<size_t>(drawn.token_id - first_token)],
                            drawn.token_id, drawn.score);
  if (row.top_p < 1.0f) {
    Split(MassOf(source, max, inverse_temperature), &summary->mass_high, &summary->mass_low);
  }
}

}  // namespace pingti::worker::cpu
