#include "worker/backend/cpu/logit_row.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <limits>
#include <numbers>

#include "worker/backend/sampling_rng.h"

namespace pingti::worker::cpu {

bool HasProcessors(const SamplingRow& row) {
  return !row.logit_bias.empty() || !row.allowed_mask.empty() || !row.token_counts.empty();
}

void ApplyProcessors(const SamplingRow& row, int64_t first_token, std::span<float> logits) {
  // Null: the token is of another part.
  const auto place = [&](int32_t token_id) -> float* {
    const int64_t at = token_id - first_token;
    const bool is_here = at >= 0 && at < static_cast<int64_t>(logits.size());
    return is_here ? &logits[static_cast<size_t>(at)] : nullptr;
  };
  for (const TokenBias& bias : row.logit_bias) {
    if (float* logit = place(bias.token_id)) *logit += bias.bias;
  }
  for (const TokenCount& count : row.token_counts) {
    float* const at = place(count.token_id);
    if (at == nullptr) continue;
    float& logit = *at;
    if (row.repetition_penalty != 1.0f && count.prompt_count + count.output_count > 0) {
      logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    }
    if (count.output_count > 0) {
      logit -= row.presence_penalty;
      logit -= row.frequency_penalty * static_cast<float>(count.output_count);
    }
  }
  if (row.allowed_mask.empty()) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    const size_t token = static_cast<size_t>(first_token) + i;
    const uint32_t word = row.allowed_mask[token / 32];
    if (((word >> (token % 32)) & 1u) == 0) logits[i] = -std::numeric_limits<float>::infinity();
  }
}

void SelectTop(std::span<const float> logits, int64_t first_token, int32_t count,
               std::vector<TokenLogit>* top) {
  const auto before = [](const TokenLogit& a, const TokenLogit& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token_id < b.token_id;
  };
  top->clear();  // a heap whose front is the least of the best
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool full = static_cast<int32_t>(top->size()) == count;
    if (full && logits[i] <= top->front().logit) continue;
    if (full) {
      std::pop_heap(top->begin(), top->end(), before);
      top->pop_back();
    }
    top->push_back({logits[i], static_cast<int32_t>(first_token + static_cast<int64_t>(i))});
    std::push_heap(top->begin(), top->end(), before);
  }
  std::sort(top->begin(), top->end(), before);
}

ScoredToken DrawFromAll(std::span<const float> logits, int64_t first_token, const SamplingRow& row,
                        int64_t best) {
  const float inverse_temperature = InverseTemperature(row);
  const auto size = static_cast<int64_t>(logits.size());
  // The best token's score is one to beat; what cannot is passed over without its logarithms.
  float highest =
      Score(logits[static_cast<size_t>(best)], inverse_temperature,
            TokenNoise(row.seed, row.position, static_cast<int32_t>(first_token + best)));
  int64_t drawn = best;
  for (int64_t begin = 0; begin < size; begin += kTokensPerDraw) {
    const int64_t end = std::min<int64_t>(begin + kTokensPerDraw, size);
    const float top =
        *std::max_element(logits.data() + begin, logits.data() + end) * inverse_temperature;
    if (top + kMaxNoise < highest) continue;
    const std::array<uint32_t, 4> words = NoiseWords(
        row.seed, row.position, static_cast<uint32_t>((first_token + begin) / kTokensPerDraw));
    // Noise is at most -log(v), and v at least 2^(bits - 33).
    const int bits = std::bit_width(*std::min_element(words.begin(), words.end()));
    if (top + static_cast<float>(33 - bits) * std::numbers::ln2_v<float> < highest) continue;
    for (int64_t t = begin; t < end; ++t) {
      const float value = Score(logits[static_cast<size_t>(t)], inverse_temperature,
                                GumbelNoise(words[static_cast<size_t>(t - begin)]));
      if (value > highest || (value == highest && t < drawn)) {
        highest = value;
        drawn = t;
      }
    }
  }
  return {static_cast<int32_t>(first_token + drawn), highest};
}

}  // namespace pingti::worker::cpu
