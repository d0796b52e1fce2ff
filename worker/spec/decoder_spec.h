// What a decoder-only transformer is made of, whatever file described it: its blocks, their sizes
// and options, and the checkpoint's names of their modules. A family's page
// (worker/model/families) writes one; worker/layers makes blocks of it. Plain data; module names
// are without ".weight".
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/spec/weight_spec.h"
#include "worker/tensor/activation_function.h"
#include "worker/tensor/expert_routing.h"

namespace pingti::worker {

// kNoRotation: positions are told in another way.
enum class RopeScaling { kNone, kLinear, kDynamicNtk, kYarn, kLlama3, kLongRope, kNoRotation };

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
  // GGUF's rope_freqs.weight: frequencies are divided by these. Empty: none. [rotary_dim / 2]
  std::vector<float> freq_divisors;
  // LongRoPE (Ding et al. 2024): in place of freq_divisors where more than original_max_position
  // tokens are served, for every token, so that the cached keys of a sequence agree.
  std::vector<float> long_divisors;
  // Dimensions of a head that rotate: the first ones. Rows of q and k are loaded in another order,
  // so that pair i of a head is (i, i + head_dim / 2), and the last pairs do not turn. 0: all.
  int64_t rotary_dim = 0;
};

enum class NormKind {
  kRms,    // Zhang and Sennrich, "Root Mean Square Layer Normalization"
  kLayer,  // Ba, Kiros and Hinton, "Layer Normalization"
};

struct NormSpec {
  std::string module;
  double eps = 1e-6;
  NormKind kind = NormKind::kRms;
  bool bias = false;  // of kLayer
};

// Grouped-query attention (Ainslie et al., "GQA").
struct AttentionSpec {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;         // a token sees the last `window` tokens, itself included; 0: all
  int64_t input_size = 0;     // columns of what q, k and v read; 0: as many as the residual's
  std::vector<RowBlock> qkv;  // rows of q, k and v
  bool qkv_bias = false;
  std::string out;          // [hidden, num_heads * head_dim]
  ColumnRange out_columns;  // which of the module's those are, in a rank's share
  bool out_bias = false;
  // RMS norm of every query and key head before rotation; unset: none.
  std::optional<NormSpec> q_norm;
  std::optional<NormSpec> k_norm;
  // See AttentionShape in worker/backend/backend.h. Empty: no ALiBi. [num_heads]
  std::vector<float> alibi_slopes;
  // One more score per head that takes part in its softmax: rows of a vector [num_heads], named as
  // the tensor is. Empty: none.
  std::vector<RowBlock> sinks;
  float logit_softcap = 0.0f;  // 0: none
};

// Latent attention (DeepSeek-V2, section 2.1): keys and values are made of a latent, which is what
// the cache keeps, beside one rotated key that all heads share. It runs in the absorbed form: a
// query goes through its head's key matrix and meets the latent itself, and what attention sums of
// latents goes through the head's value matrix.
struct LatentAttentionSpec {
  int64_t num_heads = 0;
  int64_t nope_dim = 0;    // of a query's part that does not rotate
  int64_t rope_dim = 0;    // of the part that does, by adjacent pairs
  int64_t value_dim = 0;   // of a head's value
  int64_t latent_dim = 0;  // of keys and values
  double scale = 1.0;      // of the scores
  // What reads the layer's input, stacked: queries [num_heads * (nope_dim + rope_dim), hidden], or
  // their latent [query_latent_dim, hidden]; then keys' and values' latent and the shared key,
  // [latent_dim + rope_dim, hidden].
  std::vector<RowBlock> in;
  int64_t query_latent_dim = 0;        // 0: queries have none
  std::optional<NormSpec> query_norm;  // of the queries' latent
  std::vector<RowBlock> query;         // [num_heads * (nope_dim + rope_dim), query_latent_dim]
  NormSpec latent_norm;
  // Of each head in turn [latent_dim, nope_dim]; transposed where the file has them so.
  std::vector<RowBlock> keys;
  bool keys_transposed = false;
  std::vector<RowBlock> values;  // of each head in turn; [value_dim, latent_dim]
  std::string out;               // [hidden, num_heads * value_dim]
  ColumnRange out_columns;       // which of the module's those are, in a rank's share

  int64_t query_dim() const { return nope_dim + rope_dim; }
};

// Gated: down(f(gate(x)) * up(x)) (Shazeer, "GLU Variants Improve Transformer"). Plain:
// down(f(up(x))).
struct MlpSpec {
  int64_t inner = 0;
  ActivationFunction function = ActivationFunction::kSilu;
  bool gated = true;
  std::vector<RowBlock> gate_up;  // gate, then up, or up alone; [inner, hidden] each
  std::string down;               // [hidden, inner]
  ColumnRange down_columns;       // which of the module's those are, in a rank's share
  bool bias = false;
};

// A mixture of experts (Shazeer et al., "Outrageously Large Neural Networks"): a router chooses
// some of many gated feed-forwards for each token, and their weighted outputs are added up.
struct ExpertsSpec {
  ExpertRouting routing;
  std::string router;  // [num_experts, hidden]
  bool router_bias = false;
  // A vector [num_experts] that is added to the scores when experts are chosen, but not to their
  // weights: the tensor's whole name. Empty: none.
  std::string correction_bias;
  int64_t inner = 0;  // of each expert
  ActivationFunction function = ActivationFunction::kSilu;
  std::vector<RowBlock> gate_up;  // of each expert in turn gate, then up; [inner, hidden] each
  std::vector<RowBlock> down;     // of each expert in turn; [hidden, inner] each
  ColumnRange down_columns;       // which of the modules' those are, in a rank's share
  bool bias = false;              // of all of them
  // Where a module stacks gate and up, its rows are of them in turn, not first those of gate.
  bool gate_and_up_alternate = false;
  // A feed-forward that every token takes besides.
  std::optional<MlpSpec> shared;
  // [1, hidden]: the sigmoid of its product scales the shared one's output. Empty: it is not
  // scaled.
  std::string shared_gate;
};

// How the two blocks of a layer are added to the residual stream x.
enum class ResidualForm {
  kSequential,  // x += attention(norm(x)), then x += mlp(norm(x))
  kParallel,    // x += attention(norm(x)) + mlp(norm(x))
};

struct LayerSpec {
  NormSpec attention_norm;                              // of attention's input
  AttentionSpec attention;                              // unless the layer has latent attention
  std::optional<LatentAttentionSpec> latent_attention;  // in place of `attention`
  // Of the feed-forward's input. Unset, of kParallel only: attention's input serves both.
  std::optional<NormSpec> mlp_norm;
  MlpSpec mlp;                         // unless the layer has experts
  std::optional<ExpertsSpec> experts;  // in place of `mlp`
  ResidualForm residual = ResidualForm::kSequential;

  int64_t num_heads() const {
    return latent_attention.has_value() ? latent_attention->num_heads : attention.num_heads;
  }
  // Dimensions of a head, or of its part that may rotate, of which there are cosines and sines.
  int64_t rope_dim() const {
    return latent_attention.has_value() ? latent_attention->rope_dim : attention.head_dim;
  }
};

// Multi-token prediction (DeepSeek-AI 2024, "DeepSeek-V3 Technical Report", section 2.2): modules
// beside the layers, each of which foretells one more token from a state and the token behind it.
// They share the model's embedding and output projection. The first of them is described:
//
//   x      = projection [norm(state) | norm(embedding(token))]
//   logits = head(final_norm(layer(x)))
struct MtpSpec {
  int64_t num_modules = 0;
  NormSpec state_norm;
  NormSpec embedding_norm;
  std::string projection;        // [hidden, 2 * hidden]
  bool embedding_first = false;  // the projection reads the embedding before the state
  LayerSpec layer;
  NormSpec final_norm;
  // The state that comes from the model went through the model's last norm.
  bool reads_normed = false;
  // The state that comes from the module itself, in a chain of drafts, went through final_norm.
  bool chains_normed = false;
};

// The tokens whose embeddings a rank holds and whose logits it computes: [first, first + rows).
// Every rank's begin at a multiple of `stride`, its rank; only the last rank's may be fewer than
// that.
struct VocabularyShare {
  int64_t first = 0;
  int64_t rows = 0;
  int64_t stride = 0;
};

struct DecoderSpec {
  std::string architecture;  // the page's name for people: "llama", "qwen2"
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t max_context = 0;
  RopeConfig rope;
  std::string embedding;  // [vocab, hidden]
  std::string head;       // [vocab, hidden]; the embedding's module where they are tied
  std::optional<VocabularyShare> vocabulary_share;  // of both; unset: all tokens
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  std::optional<MtpSpec> mtp;
  // Tensors that a checkpoint may hold and that say nothing that is not read elsewhere.
  std::vector<std::string> repeated_tensors;
  // Beginnings of names of tensors that belong to modules beside the decoder, which runs without
  // them: of multi-token prediction, for one.
  std::vector<std::string> unread_prefixes;

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  bool tied_embeddings() const { return head == embedding; }
  // Of the last layer that has experts; null: none has.
  const ExpertsSpec* experts() const {
    const auto layer = std::find_if(layers.rbegin(), layers.rend(),
                                    [](const LayerSpec& l) { return l.experts.has_value(); });
    return layer == layers.rend() ? nullptr : &*layer->experts;
  }
};

}  // namespace pingti::worker
