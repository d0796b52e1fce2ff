// See row_builder.h.
#include "worker/sampling/row_builder.h"

namespace pingti::worker {
namespace {

void SetBit(std::vector<uint32_t>* mask, int32_t token, bool value) {
  const uint32_t bit = 1u << (token % 32);
  uint32_t& word = (*mask)[token / 32];
  word = value ? word | bit : word & ~bit;
}

}  // namespace

RequestSampling::RequestSampling(const SamplingParameters& parameters, int32_t vocab_size,
                                 std::span<const int32_t> stop_token_ids, bool may_suppress_stops)
    : parameters_(parameters) {
  const size_t words = (static_cast<size_t>(vocab_size) + 31) / 32;
  if (!parameters.allowed_token_ids.empty()) {
    mask_.assign(words, 0);
    for (const int32_t token : parameters.allowed_token_ids) SetBit(&mask_, token, true);
  }
  if (!may_suppress_stops) return;
  mask_without_stops_ = mask_.empty() ? std::vector<uint32_t>(words, ~0u) : mask_;
  for (const int32_t token : stop_token_ids) SetBit(&mask_without_stops_, token, false);
}

void SequenceSampling::Reset(const RequestSampling* request, std::span<const int32_t> prompt,
                             std::span<const int32_t> output, int32_t max_tokens) {
  request_ = request;
  counting_ = request->parameters().has_penalty();
  if (!counting_) return;
  counts_.Reset(prompt, max_tokens);
  for (const int32_t token : output) counts_.AddOutput(token);
}

SamplingRow SequenceSampling::Row(int32_t position, bool suppress_stops,
                                  int32_t num_top_logprobs) const {
  const SamplingParameters& p = request_->parameters();
  SamplingRow row;
  row.temperature = p.temperature;
  row.top_p = p.top_p;
  row.top_k = p.top_k;
  row.min_p = p.min_p;
  row.presence_penalty = p.presence_penalty;
  row.frequency_penalty = p.frequency_penalty;
  row.repetition_penalty = p.repetition_penalty;
  row.seed = p.seed;
  row.position = static_cast<uint64_t>(position);
  row.token_counts = counting_ ? counts_.counts() : std::span<const TokenCount>();
  row.logit_bias = p.logit_bias;
  row.allowed_mask = request_->Mask(suppress_stops);
  row.num_top_logprobs = num_top_logprobs;
  return row;
}

}  // namespace pingti::worker
