#include "tools/inspect_fit.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "worker/model/decoder_blocks.h"

namespace pingti::tools {
namespace {

using worker::DecoderSpec;

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

int64_t WeightBytes(const worker::WeightSpec& weight, WeightBits bits) {
  const int64_t rows = weight.rows();
  if (weight.is_vector()) return 4 * rows;
  // In int8 the embedding has a scale per row, the output projection 16 bits per 128 weights.
  constexpr int64_t kHeadGroup = 128;
  const bool int8 = bits == WeightBits::k8;
  if (weight.role == worker::WeightRole::kLogits && int8) {
    return rows * (weight.cols + 2 * ((weight.cols + kHeadGroup - 1) / kHeadGroup));
  }
  const bool vocabulary = weight.split == worker::Split::kVocabulary;
  const bool keeps_16_bits = weight.heads > 0 || (vocabulary && !int8);
  return MatrixBytes(rows, weight.cols, keeps_16_bits ? WeightBits::k16 : bits) +
         (weight.bias ? 4 * rows : 0);
}

// The first group that holds a sequence, or the last.
const RankSpecs& GroupFor(const std::vector<RankSpecs>& groups, WeightBits bits, const Card& card,
                          double share, int64_t context) {
  for (const RankSpecs& ranks : groups) {
    if (SequencesThatFit(ranks, bits, card, share, context) > 0) return ranks;
  }
  return groups.back();
}

// Of the rank that has most.
int64_t LargestWeightBytes(const RankSpecs& ranks, WeightBits bits) {
  int64_t largest = 0;
  for (const DecoderSpec& spec : ranks) largest = std::max(largest, DeviceWeightBytes(spec, bits));
  return largest;
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

int64_t DeviceWeightBytes(const DecoderSpec& spec, WeightBits bits) {
  int64_t bytes = 0;
  for (const worker::WeightSpec& weight : worker::DeclaredWeights(spec)) {
    bytes += WeightBytes(weight, bits);
  }
  return bytes;
}

int64_t KvBytesPerToken(const DecoderSpec& spec) {
  constexpr int64_t kBf16Bytes = 2;
  int64_t values = 0;
  for (const worker::LayerSpec& layer : spec.layers) {
    values += layer.latent_attention.has_value()
                  ? layer.latent_attention->latent_dim + layer.latent_attention->rope_dim
                  : 2 * layer.attention.num_kv_heads * layer.attention.head_dim;
  }
  return values * kBf16Bytes;
}

int64_t Int8KvBytesPerToken(const DecoderSpec& spec) {
  constexpr int64_t kBf16Bytes = 2;
  constexpr int64_t kScaleBytes = 4;
  constexpr int64_t kLatentGroup = 64;
  int64_t bytes = 0;
  int64_t widened = 0;
  for (const worker::LayerSpec& layer : spec.layers) {
    if (layer.latent_attention.has_value()) {
      const int64_t latent = layer.latent_attention->latent_dim;
      const int64_t scales = (latent + kLatentGroup - 1) / kLatentGroup;
      bytes += latent + kBf16Bytes * (scales + layer.latent_attention->rope_dim);
      continue;
    }
    const int64_t heads = 2 * layer.attention.num_kv_heads;
    bytes += heads * (layer.attention.head_dim + kScaleBytes);
    widened = std::max(widened, heads * layer.attention.head_dim * kBf16Bytes);
  }
  return bytes + widened;
}

int64_t SequencesThatFit(const DecoderSpec& spec, WeightBits bits, const Card& card, double share,
                         int64_t context) {
  const auto usable = static_cast<int64_t>(static_cast<double>(card.memory_mib << 20) * share);
  const int64_t left = usable - kReservedBytes - DeviceWeightBytes(spec, bits);
  return left <= 0 ? 0 : left / (KvBytesPerToken(spec) * context);
}

int64_t SequencesThatFit(const RankSpecs& ranks, WeightBits bits, const Card& card, double share,
                         int64_t context) {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const DecoderSpec& spec : ranks) {
    least = std::min(least, SequencesThatFit(spec, bits, card, share, context));
  }
  return least;
}

std::string FitTable(const std::vector<RankSpecs>& groups, double share,
                     const std::vector<int64_t>& contexts) {
  char text[128];
  std::snprintf(text, sizeof(text),
                "sequences that fit with gpu_memory_fraction %g, by context (-: not one)\n", share);
  std::string out = text;
  std::snprintf(text, sizeof(text), "%-11s %-6s %5s %9s", "card", "format", "cards", "weights");
  out += text;
  for (const int64_t context : contexts) {
    std::snprintf(text, sizeof(text), "%9lld", static_cast<long long>(context));
    out += text;
  }
  out += "\n";
  const int64_t shortest = *std::min_element(contexts.begin(), contexts.end());
  for (const Card& card : KnownCards()) {
    for (const WeightBits bits : {WeightBits::k16, WeightBits::k8, WeightBits::k4}) {
      const RankSpecs& ranks = GroupFor(groups, bits, card, share, shortest);
      std::snprintf(text, sizeof(text), "%-11s %-6s %5zu %6.1f GB", std::string(card.name).c_str(),
                    BitsName(bits), ranks.size(),
                    static_cast<double>(LargestWeightBytes(ranks, bits)) * 1e-9);
      out += text;
      for (const int64_t context : contexts) {
        out += Cell(SequencesThatFit(ranks, bits, card, share, context));
      }
      out += "\n";
    }
  }
  return out;
}

}  // namespace pingti::tools
