#include "worker/backend/cpu/cpu_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/backend/sampling_rng.h"

namespace pingti::worker::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int kNumBuckets = 256;
constexpr float kBucketsPerUnit = 8.0f;  // of logit difference, after temperature

}  // namespace

CpuSampler::CpuSampler(const CpuKernels* kernels, int64_t vocab_size)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      adjusted_(static_cast<size_t>(vocab_size)),
      order_(static_cast<size_t>(vocab_size)),
      buckets_(kNumBuckets),
      bucket_of_(static_cast<size_t>(vocab_size)) {
  top_.reserve(static_cast<size_t>(vocab_size));  // no step allocates scratch
}

void CpuSampler::Sample(const float* logits, const SamplingRow& row, SampledToken* result) {
  result->top.clear();
  result->ranked.clear();
  result->logits_not_finite = false;
  if (row.num_ranked > 0) return Rank(logits, row, result);
  const float* source = logits;
  if (HasProcessors(row)) {
    std::copy_n(logits, vocab_size_, adjusted_.begin());
    ApplyProcessors(row, 0, adjusted_);
    source = adjusted_.data();
  }
  bool has_nan = false;
  const int64_t best = kernels_->argmax(source, vocab_size_, &has_nan);
  max_ = static_cast<double>(source[best]);
  if (has_nan || !std::isfinite(max_)) {
    result->token_id = -1;
    result->logits_not_finite = true;
    return;
  }
  result->token_id = static_cast<int32_t>(best);
  if (row.temperature > 0.0f && row.top_k != 1) {
    result->token_id = Draw(source, row, result->token_id);
  }
  if (row.num_top_logprobs >= 0) {
    Logprobs(logits, result->token_id, row.num_top_logprobs, result);
  }
}

void CpuSampler::Rank(const float* logits, const SamplingRow& row, SampledToken* result) {
  result->token_id = -1;
  result->logits_not_finite = true;  // unless there is a token to name
  bool has_nan = false;
  const float max = logits[kernels_->argmax(logits, vocab_size_, &has_nan)];
  if (has_nan || !std::isfinite(max)) return;
  const double log_sum = std::log(kernels_->sum_exp(logits, vocab_size_, max, 1.0f));
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit - max) - log_sum);
  };
  std::transform(logits, logits + vocab_size_, adjusted_.begin(), logprob);
  ApplyProcessors(row, 0, adjusted_);
  SelectTop(adjusted_, 0, row.num_ranked, &top_);
  for (const TokenLogit& entry : top_) {
    if (entry.logit == kMinusInfinity) break;
    result->ranked.push_back({entry.token_id, logprob(logits[entry.token_id]), entry.logit});
  }
  if (result->ranked.empty()) return;
  result->logits_not_finite = false;
  result->token_id = result->ranked[0].token_id;
  if (row.num_top_logprobs >= 0) {
    Logprobs(logits, result->token_id, row.num_top_logprobs, result);
  }
}

double CpuSampler::Weight(float logit) const {
  return std::exp((static_cast<double>(logit) - max_) * inverse_temperature_);
}

void CpuSampler::FillBuckets(const float* logits, float inverse_temperature) {
  inverse_temperature_ = static_cast<double>(inverse_temperature);
  const auto max = static_cast<float>(max_);
  int64_t counts[kNumBuckets] = {};
  for (int64_t t = 0; t < vocab_size_; ++t) {
    const float logit = logits[t];
    const float distance = (max - logit) * inverse_temperature * kBucketsPerUnit;
    const int bucket = distance < kNumBuckets - 1 ? static_cast<int>(distance) : kNumBuckets - 1;
    bucket_of_[static_cast<size_t>(t)] = static_cast<uint8_t>(bucket);
    if (logit != kMinusInfinity) ++counts[bucket];
  }
  int64_t begin = 0;
  for (int b = 0; b < kNumBuckets; ++b) {
    buckets_[static_cast<size_t>(b)] = {begin, begin, 0.0, false};
    begin += counts[b];
  }
  for (int64_t t = 0; t < vocab_size_; ++t) {
    const float logit = logits[t];
    if (logit == kMinusInfinity) continue;
    Bucket& bucket = buckets_[bucket_of_[static_cast<size_t>(t)]];
    order_[static_cast<size_t>(bucket.end++)] = {logit, static_cast<int32_t>(t)};
  }
  for (Bucket& bucket : buckets_) {
    for (int64_t i = bucket.begin; i < bucket.end; ++i) {
      bucket.mass += Weight(order_[static_cast<size_t>(i)].logit);
    }
  }
}

void CpuSampler::SortBucket(Bucket* bucket) {
  if (bucket->sorted) return;
  std::sort(order_.begin() + bucket->begin, order_.begin() + bucket->end,
            [](const TokenLogit& a, const TokenLogit& b) {
              return a.logit != b.logit ? a.logit > b.logit : a.token_id < b.token_id;
            });
  bucket->sorted = true;
}

CpuSampler::Prefix CpuSampler::PrefixOfCount(int64_t count) {
  Prefix prefix;
  for (Bucket& bucket : buckets_) {
    if (bucket.end <= count) {
      prefix = {bucket.end, prefix.mass + bucket.mass};
      continue;
    }
    SortBucket(&bucket);
    for (; prefix.count < count; ++prefix.count) {
      prefix.mass += Weight(order_[static_cast<size_t>(prefix.count)].logit);
    }
    break;
  }
  return prefix;
}

CpuSampler::Prefix CpuSampler::PrefixOfMass(double mass, int64_t limit) {
  Prefix prefix;
  for (Bucket& bucket : buckets_) {
    if (bucket.end <= limit && prefix.mass + bucket.mass < mass) {
      prefix = {bucket.end, prefix.mass + bucket.mass};
      continue;
    }
    SortBucket(&bucket);
    const int64_t end = std::min(bucket.end, limit);
    while (prefix.count < end && prefix.mass < mass) {
      prefix.mass += Weight(order_[static_cast<size_t>(prefix.count++)].logit);
    }
    if (prefix.mass >= mass || prefix.count == limit) break;
  }
  return prefix;
}

CpuSampler::Prefix CpuSampler::PrefixOfWeight(double weight, int64_t limit) {
  Prefix prefix;
  for (Bucket& bucket : buckets_) {
    SortBucket(&bucket);
    const int64_t end = std::min(bucket.end, limit);
    while (prefix.count < end) {
      const double next = Weight(order_[static_cast<size_t>(prefix.count)].logit);
      if (next < weight) return prefix;
      ++prefix.count;
      prefix.mass += next;
    }
    if (prefix.count == limit) break;
  }
  return prefix;
}

int32_t CpuSampler::DrawFromPrefix(const SamplingRow& row, int64_t count) const {
  const float inverse_temperature = InverseTemperature(row);
  float highest = kMinusInfinity;
  int32_t drawn = -1;
  for (int64_t i = 0; i < count; ++i) {
    const TokenLogit& entry = order_[static_cast<size_t>(i)];
    if (entry.logit * inverse_temperature + kMaxNoise < highest) continue;
    const float value =
        Score(entry.logit, inverse_temperature, TokenNoise(row.seed, row.position, entry.token_id));
    if (value > highest || (value == highest && entry.token_id < drawn)) {
      highest = value;
      drawn = entry.token_id;
    }
  }
  return drawn;
}

int32_t CpuSampler::Draw(const float* logits, const SamplingRow& row, int32_t best) {
  if (row.top_k <= 0 && row.top_p >= 1.0f && row.min_p <= 0.0f) {
    return DrawFromAll({logits, adjusted_.size()}, 0, row, best).token_id;
  }
  FillBuckets(logits, InverseTemperature(row));
  const int64_t all = buckets_.back().end;
  Prefix kept{all, 0.0};
  if (row.top_k > 0 && row.top_k < all) {
    kept = PrefixOfCount(row.top_k);
  } else {
    for (const Bucket& bucket : buckets_) kept.mass += bucket.mass;
  }
  if (row.top_p < 1.0f) {
    kept = PrefixOfMass(static_cast<double>(row.top_p) * kept.mass, kept.count);
  }
  if (row.min_p > 0.0f) {  // relative to the most likely token, whose weight is 1
    kept = PrefixOfWeight(static_cast<double>(row.min_p), kept.count);
  }
  return kept.count > 1 ? DrawFromPrefix(row, kept.count) : best;
}

void CpuSampler::Logprobs(const float* logits, int32_t token_id, int32_t num_top,
                          SampledToken* result) {
  result->top.clear();
  result->token_id = token_id;
  bool has_nan = false;
  const float max = logits[kernels_->argmax(logits, vocab_size_, &has_nan)];
  if (has_nan || !std::isfinite(max)) {
    result->logits_not_finite = true;
    return;
  }
  const double log_sum = std::log(kernels_->sum_exp(logits, vocab_size_, max, 1.0f));
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit - max) - log_sum);
  };
  result->logprob = logprob(logits[token_id]);
  if (num_top <= 0) return;
  SelectTop({logits, adjusted_.size()}, 0, num_top, &top_);
  result->top.reserve(top_.size());
  for (const TokenLogit& entry : top_) {
    result->top.push_back({entry.token_id, logprob(entry.logit)});
  }
}

}  // namespace pingti::worker::cpu
