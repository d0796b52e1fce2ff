#include "worker/backend/cuda/sampling_rows.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::worker::cuda {
namespace {

static_assert(kMaxTopLogprobs <= kernels::kMaxTopLogprobs);
static_assert(kMaxRankedTokens <= kernels::kMaxRankedTokens);

template <typename T>
uint8_t* Append(const std::vector<T>& values, uint8_t* to) {
  const size_t bytes = values.size() * sizeof(T);
  if (bytes > 0) std::memcpy(to, values.data(), bytes);
  return to + AlignedBytes(bytes);
}

}  // namespace

void SamplingRows::Clear() {
  rows_.clear();
  counts_.clear();
  biases_.clear();
  masks_.clear();
  num_masks_ = 0;
  max_top_ = -1;
  max_ranked_ = 0;
}

absl::Status SamplingRows::Add(const SamplingRow& row, int64_t mask_words) {
  if (row.num_top_logprobs > kernels::kMaxTopLogprobs) {
    return absl::InvalidArgumentError(Concat(row.num_top_logprobs,
                                             " top log-probabilities; expected at most ",
                                             kernels::kMaxTopLogprobs));
  }
  if (row.num_ranked > kernels::kMaxRankedTokens) {
    return absl::InvalidArgumentError(
        Concat(row.num_ranked, " ranked tokens; expected at most ", kernels::kMaxRankedTokens));
  }
  kernels::SamplingRowParams params;
  params.temperature = row.temperature;
  params.top_p = row.top_p;
  params.min_p = row.min_p;
  params.top_k = row.top_k;
  params.presence_penalty = row.presence_penalty;
  params.frequency_penalty = row.frequency_penalty;
  params.repetition_penalty = row.repetition_penalty;
  params.num_ranked = row.num_ranked;
  // What ranks tokens is made from their log-probabilities.
  params.num_top_logprobs = std::max(row.num_top_logprobs, row.num_ranked > 0 ? 0 : -1);
  params.seed = row.seed;
  params.position = row.position;
  params.counts_begin = static_cast<int32_t>(counts_.size());
  for (const TokenCount& count : row.token_counts) {
    counts_.push_back({count.token_id, count.prompt_count, count.output_count});
  }
  params.counts_end = static_cast<int32_t>(counts_.size());
  params.biases_begin = static_cast<int32_t>(biases_.size());
  for (const TokenBias& bias : row.logit_bias) biases_.push_back({bias.token_id, bias.bias});
  params.biases_end = static_cast<int32_t>(biases_.size());
  if (!row.allowed_mask.empty()) {
    PINGTI_CHECK(static_cast<int64_t>(row.allowed_mask.size()) == mask_words);
    params.mask_row = num_masks_++;
    masks_.insert(masks_.end(), row.allowed_mask.begin(), row.allowed_mask.end());
  }
  max_top_ = std::max(max_top_, params.num_top_logprobs);
  max_ranked_ = std::max(max_ranked_, row.num_ranked);
  rows_.push_back(params);
  return absl::OkStatus();
}

int64_t SamplingRows::bytes() const {
  return AlignedBytes(rows_.size() * sizeof(rows_[0])) +
         AlignedBytes(counts_.size() * sizeof(counts_[0])) +
         AlignedBytes(biases_.size() * sizeof(biases_[0])) +
         AlignedBytes(masks_.size() * sizeof(masks_[0]));
}

void SamplingRows::CopyTo(uint8_t* base) const {
  base = Append(rows_, base);
  base = Append(counts_, base);
  base = Append(biases_, base);
  Append(masks_, base);
}

}  // namespace pingti::worker::cuda
