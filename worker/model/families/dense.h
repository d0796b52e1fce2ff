// What the pages of Llama's relatives share: a decoder of equal layers, each RMS norm,
// grouped-query attention with rotary positions, RMS norm, gated feed-forward.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

// Of any width and of a context, beyond which a configuration is taken for broken.
inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxContext = int64_t{1} << 30;
inline constexpr double kMinRopeTheta = 1.0001;
inline constexpr double kMaxRopeTheta = 1e15;
inline constexpr double kMaxRopeFactor = 1e6;

// Modules of a checkpoint; those of a layer without its prefix.
struct DenseNames {
  std::string_view embedding;
  std::string_view head;
  std::string_view final_norm;
  std::string_view layers;  // a layer's prefix is this, its number and a dot
  std::string_view attention_norm;
  std::string_view q;
  std::string_view k;
  std::string_view v;
  std::string_view qkv;  // not empty: one module holds the rows of q, k and v
  std::string_view q_norm;
  std::string_view k_norm;
  std::string_view attention_out;
  std::string_view mlp_norm;
  std::string_view gate;
  std::string_view up;
  std::string_view gate_up;  // not empty: one module holds the rows of gate and up
  std::string_view down;
};

// transformers' names since Llama, and llama.cpp's.
const DenseNames& HfDenseNames();
const DenseNames& GgufDenseNames();

struct DenseOptions {
  std::string architecture;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t inner_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_context = 0;
  double norm_eps = 1e-6;
  RopeConfig rope;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;            // RMS norm of every q and k head before rotation
  bool may_rotate_partly = false;  // the family has heads that rotate in part
  // Rows of q and k are in GGUF's order for the rotation of adjacent pairs.
  bool interleaved_qk = false;
  std::vector<int64_t> window;  // of each layer, 0: none; empty: none at all

  // Dimensions of a head that rotate.
  int64_t rotary_dim() const { return rope.rotary_dim == 0 ? head_dim : rope.rotary_dim; }
};

DecoderSpec MakeDenseDecoder(const DenseOptions& options, const DenseNames& names);

}  // namespace pingti::worker
