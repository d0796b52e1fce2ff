// What a decoder-only transformer looks like, whatever file described it: a config.json or the keys
// of a GGUF file. Plain data; names follow Hugging Face's config.json where it has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pingti::worker {

enum class RopeScaling { kNone, kLinear, kDynamicNtk, kYarn, kLlama3 };

struct RopeConfig {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  int64_t original_max_position = 0;  // set whenever `scaling` needs it
  // Llama 3.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // YaRN (Peng et al., "YaRN: Efficient Context Window Extension", section 3).
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;
  std::optional<double> attention_factor;  // of cos and sin; unset: 0.1 ln(factor) + 1
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  // GGUF's rope_freqs.weight: frequencies are divided by these. Empty: none. [head_dim / 2]
  std::vector<float> freq_divisors;
};

struct ModelConfig {
  std::string architecture;  // "llama", "mistral", "qwen", "qwen2", "qwen3"
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_context = 0;
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool tie_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMS norm of every q and k head before RoPE
  // Layer i attends to the last window[i] tokens, itself included; 0: to all. [num_layers]
  std::vector<int64_t> window;
};

}  // namespace pingti::worker
