// What a step of a worker costs, as a sum of linear parts with measured slopes.
#pragma once

#include <cstdint>

namespace pingti::bench {

// Times in seconds. `kDefault...` are of one NVIDIA H200, from docs/performance.md; how each figure
// follows from that page is said beside it.
struct CostModel {
  double step = 0;                 // a step of any size
  double per_decode = 0;           // per sequence that gets a token
  double per_decode_context = 0;   // per token of context of such a sequence
  double per_prefill = 0;          // per token of a prompt
  double per_prefill_context = 0;  // per token of a prompt and token before it
  uint64_t kv_tokens = 0;          // that the KV cache holds

  double StepSeconds(uint64_t decodes, uint64_t decode_context, uint64_t prefill_tokens,
                     double prefill_token_contexts) const {
    return step + per_decode * static_cast<double>(decodes) +
           per_decode_context * static_cast<double>(decode_context) +
           per_prefill * static_cast<double>(prefill_tokens) +
           per_prefill_context * prefill_token_contexts;
  }
};

// Qwen2.5-7B in int8. Steps of 2.57 and 4.13 ms at 1 and 64 sequences of 512 tokens: 2.55 ms and
// 24.8 us per sequence, of which 512 tokens of context take 6.6 us: 28 layers of 4 heads of 128, in
// 16 bit, keys and values, are 57 KB per token, read at 4.23 TB/s. Prompts at 77,842 tokens/s;
// attention does 4 * 28 * 28 * 128 operations per pair of tokens at 600 TFLOP/s. 100 GB of cache.
inline constexpr CostModel kQwen7bInt8{.step = 2.55e-3,
                                       .per_decode = 18.2e-6,
                                       .per_decode_context = 13.5e-9,
                                       .per_prefill = 1.0 / 77'842,
                                       .per_prefill_context = 0.67e-9,
                                       .kv_tokens = 1'740'000};

// Qwen2.5-72B in int8 on one card. 19.0 ms for one sequence and 22.7 ms for 32, at about 256
// tokens; 80 layers of 8 heads of 128 are 328 KB per token. Prompts of 2,000 tokens in 232 ms.
// Attention: 4 * 80 * 64 * 128 operations per pair at 600 TFLOP/s. 50 GB of cache beside 73 GB of
// weights.
inline constexpr CostModel kQwen72bInt8{.step = 18.9e-3,
                                        .per_decode = 100e-6,
                                        .per_decode_context = 77e-9,
                                        .per_prefill = 1.0 / 8'620,
                                        .per_prefill_context = 4.4e-9,
                                        .kv_tokens = 152'000};

}  // namespace pingti::bench
