#include "tools/inspect_fit.h"

#include <cstdio>

namespace pingti::tools {
namespace {

using worker::ModelConfig;

const char* BitsName(WeightBits bits) {
  switch (bits) {
    case WeightBits::k16:
      return "bf16";
    case WeightBits::k8:
      return "int8";
    case WeightBits::k4:
      break;
  }
  return "4-bit";
}

int64_t MatrixBytes(int64_t rows, int64_t cols, WeightBits bits) {
  switch (bits) {
    case WeightBits::k16:
      return 2 * rows * cols;
    case WeightBits::k8:
      return rows * cols + 4 * rows;
    case WeightBits::k4:
      break;
  }
  return rows * cols / 2 + 4 * (rows * cols / 32);
}

std::string Cell(int64_t value) {
  char text[32];
  if (value == 0) return "        -";
  std::snprintf(text, sizeof(text), "%9lld", static_cast<long long>(value));
  return text;
}

}  // namespace

const std::vector<Card>& KnownCards() {
  static const std::vector<Card> cards = {
      {"A100 40 GB", 40960}, {"L40S", 46068},  {"A6000", 49140}, {"H100 80 GB", 81559},
      {"A100 80 GB", 81920}, {"H200", 143771}, {"B200", 183359}};
  return cards;
}

int64_t DeviceWeightBytes(const ModelConfig& config, WeightBits bits) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  const int64_t matrices = MatrixBytes(q + 2 * kv, hidden, bits) + MatrixBytes(hidden, q, bits) +
                           MatrixBytes(2 * inner, hidden, bits) + MatrixBytes(hidden, inner, bits);
  int64_t values = 2 * hidden;
  if (config.qkv_bias) values += q + 2 * kv;
  if (config.o_bias) values += hidden;
  if (config.mlp_bias) values += 2 * inner + hidden;
  if (config.qk_norm) values += 2 * config.head_dim;
  // In int8 the embedding has a scale a row, the output projection 16 bits per 128 weights.
  constexpr int64_t kHeadGroup = 128;
  int64_t vocabulary = 2 * MatrixBytes(config.vocab_size, hidden, WeightBits::k16);
  if (bits == WeightBits::k8) {
    vocabulary = MatrixBytes(config.vocab_size, hidden, WeightBits::k8) +
                 config.vocab_size * (hidden + 2 * ((hidden + kHeadGroup - 1) / kHeadGroup));
  }
  return config.num_layers * (matrices + 4 * values) + 4 * hidden + vocabulary;
}

int64_t KvBytesPerToken(const ModelConfig& config) {
  constexpr int64_t kBf16Bytes = 2;
  return 2 * config.num_layers * config.num_kv_heads * config.head_dim * kBf16Bytes;
}

int64_t SequencesThatFit(const ModelConfig& config, WeightBits bits, const Card& card, double share,
                         int64_t context) {
  const auto usable = static_cast<int64_t>(static_cast<double>(card.memory_mib << 20) * share);
  const int64_t left = usable - kReservedBytes - DeviceWeightBytes(config, bits);
  return left <= 0 ? 0 : left / (KvBytesPerToken(config) * context);
}

std::string FitTable(const ModelConfig& config, double share,
                     const std::vector<int64_t>& contexts) {
  char text[128];
  std::snprintf(
      text, sizeof(text),
      "sequences that fit on one card with gpu_memory_fraction %g, by context (-: not one)\n",
      share);
  std::string out = text;
  std::snprintf(text, sizeof(text), "%-11s %-6s %9s", "card", "format", "weights");
  out += text;
  for (const int64_t context : contexts) {
    std::snprintf(text, sizeof(text), "%9lld", static_cast<long long>(context));
    out += text;
  }
  out += "\n";
  for (const Card& card : KnownCards()) {
    for (const WeightBits bits : {WeightBits::k16, WeightBits::k8, WeightBits::k4}) {
      std::snprintf(text, sizeof(text), "%-11s %-6s %6.1f GB", std::string(card.name).c_str(),
                    BitsName(bits), static_cast<double>(DeviceWeightBytes(config, bits)) * 1e-9);
      out += text;
      for (const int64_t context : contexts) {
        out += Cell(SequencesThatFit(config, bits, card, share, context));
      }
      out += "\n";
    }
  }
  return out;
}

}  // namespace pingti::tools
