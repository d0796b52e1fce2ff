// Which graphics cards a model fits on, on how many of them, and with what batch and context:
// arithmetic on sizes, no device is asked. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "worker/spec/decoder_spec.h"

namespace pingti::tools {

struct Card {
  std::string_view name;
  int64_t memory_mib;  // as the driver reports it
};
// Smallest first.
const std::vector<Card>& KnownCards();

enum class WeightBits { k16, k8, k4 };

// Bytes of the weights on the card: the blocks' matrices in the given width with their scales
// (int8: one per row; 4 bits: one 16-bit scale and minimum for 32 values), embedding and output
// projection in 8 bit with int8, else in 16, both held even where they are tied; biases and norms
// in 32.
int64_t DeviceWeightBytes(const worker::DecoderSpec& spec, WeightBits bits);

// Keys and values of one token in bf16, over all layers.
int64_t KvBytesPerToken(const worker::DecoderSpec& spec);
// The same with kv_cache_dtype: int8, as a GPU takes them with their scales: one of 32 bits per
// head, or of 16 per 64 elements of a latent, whose rotated key stays in bf16; and for keys and
// values the largest layer in bf16, once more.
int64_t Int8KvBytesPerToken(const worker::DecoderSpec& spec);

// Activations and what CUDA itself takes, about.
inline constexpr int64_t kReservedBytes = int64_t{1} << 30;

// Sequences of `context` tokens whose keys and values fit beside the weights into `share` of the
// card's memory (a worker's gpu_memory_fraction); 0 when not one does.
int64_t SequencesThatFit(const worker::DecoderSpec& spec, WeightBits bits, const Card& card,
                         double share, int64_t context);

// What each rank of a tensor-parallel group computes; of one rank, the whole model.
using RankSpecs = std::vector<worker::DecoderSpec>;

// The same where each rank has such a card: of the rank with the least room.
int64_t SequencesThatFit(const RankSpecs& ranks, WeightBits bits, const Card& card, double share,
                         int64_t context);

// A table: a line per card and width of the weights, a column per context. A line is for the first
// of `groups` on whose cards a sequence of some context fits, or for the last of them.
// REQUIRES: groups and contexts are not empty.
std::string FitTable(const std::vector<RankSpecs>& groups, double share,
                     const std::vector<int64_t>& contexts);

}  // namespace pingti::tools
