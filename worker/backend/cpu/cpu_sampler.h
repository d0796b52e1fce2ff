// Draws tokens from rows of logits on the CPU, as sampling_params.h defines it.
//
// top_k, top_p and min_p each keep a prefix of the tokens in descending order, so a row is never
// sorted as a whole: tokens are first put into buckets by logit, and only buckets that a limit
// falls into are sorted.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/logit_row.h"
#include "worker/backend/sampling_params.h"

namespace pingti::worker::cpu {

// Scratch for one thread; confined to it.
class CpuSampler {
 public:
  CpuSampler(const CpuKernels* kernels, int64_t vocab_size);

  // logits: [vocab_size], raw.
  void Sample(const float* logits, const SamplingRow& row, SampledToken* result);

  // Log-probability of `token_id` and of the `num_top` most likely tokens.
  void Logprobs(const float* logits, int32_t token_id, int32_t num_top, SampledToken* result);

 private:
  // One bucket of tokens whose logits lie in one interval below the maximum.
  struct Bucket {
    int64_t begin = 0;  // in order_
    int64_t end = 0;
    double mass = 0.0;
    bool sorted = false;
  };
  // A prefix of the descending order: `full` whole buckets, then `part` tokens of the next one.
  struct Prefix {
    int64_t count = 0;
    double mass = 0.0;
  };

  void Rank(const float* logits, const SamplingRow& row, SampledToken* result);
  // All from a row whose highest logit, max_, is that of `best`.
  int32_t Draw(const float* logits, const SamplingRow& row, int32_t best);
  // From the first `count` tokens of the order.
  int32_t DrawFromPrefix(const SamplingRow& row, int64_t count) const;
  void FillBuckets(const float* logits, float inverse_temperature);
  void SortBucket(Bucket* bucket);
  double Weight(float logit) const;
  // The longest prefix of at most `count` tokens.
  Prefix PrefixOfCount(int64_t count);
  // The shortest prefix whose mass reaches `mass`, at most `limit` tokens.
  Prefix PrefixOfMass(double mass, int64_t limit);
  // The prefix of tokens with at least `weight`, at most `limit` tokens.
  Prefix PrefixOfWeight(double weight, int64_t limit);

  const CpuKernels* const kernels_;
  const int64_t vocab_size_;
  std::vector<float> adjusted_;
  std::vector<TokenLogit> order_;
  std::vector<Bucket> buckets_;
  std::vector<uint8_t> bucket_of_;
  std::vector<TokenLogit> top_;
  double max_ = 0.0;
  double inverse_temperature_ = 1.0;
};

}  // namespace pingti::worker::cpu
