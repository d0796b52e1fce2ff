#include "worker/model/families/falcon.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/model/families/hf_rope.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

// Modules of a checkpoint; those of a layer without its prefix.
struct Names {
  std::string_view embedding;
  std::string_view head;
  std::string_view final_norm;
  std::string_view layers;  // a layer's prefix is this, its number and a dot
  std::string_view norm;    // of attention's input, where it has none of its own
  std::string_view attention_norm;
  std::string_view mlp_norm;
  std::string_view sequential_mlp_norm;
  std::string_view qkv;
  std::string_view attention_out;
  std::string_view up;
  std::string_view down;
};

constexpr Names kHfNames = {.embedding = "transformer.word_embeddings",
                            .head = "lm_head",
                            .final_norm = "transformer.ln_f",
                            .layers = "transformer.h.",
                            .norm = "input_layernorm",
                            .attention_norm = "ln_attn",
                            .mlp_norm = "ln_mlp",
                            .sequential_mlp_norm = "post_attention_layernorm",
                            .qkv = "self_attention.query_key_value",
                            .attention_out = "self_attention.dense",
                            .up = "mlp.dense_h_to_4h",
                            .down = "mlp.dense_4h_to_h"};

// There is no sequential Falcon in GGUF.
constexpr Names kGgufNames = {.embedding = "token_embd",
                              .head = "output",
                              .final_norm = "output_norm",
                              .layers = "blk.",
                              .norm = "attn_norm",
                              .attention_norm = "attn_norm_2",
                              .mlp_norm = "attn_norm",
                              .sequential_mlp_norm = "",
                              .qkv = "attn_qkv",
                              .attention_out = "attn_output",
                              .up = "ffn_up",
                              .down = "ffn_down"};

// Which norms a layer has.
enum class Norms { kShared, kOfEachBlock, kSequential };

struct Options {
  DenseOptions dense;
  Norms norms = Norms::kShared;
  // The rows of query_key_value are so many groups, each of its queries, then keys, then values.
  int64_t qkv_groups = 1;
  bool alibi = false;
};

// Geometric, from 2^(-8/n) for n heads; where n is not a power of two, those of the next lower one
// and then every other one of the next higher (Press et al., "Train Short, Test Long").
std::vector<float> AlibiSlopes(int64_t num_heads) {
  int64_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  const auto slope = [](int64_t n, int64_t i) {
    return static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(n)));
  };
  std::vector<float> slopes;
  for (int64_t i = 1; i <= power; ++i) slopes.push_back(slope(power, i));
  for (int64_t i = 1; std::ssize(slopes) < num_heads; i += 2) {
    slopes.push_back(slope(2 * power, i));
  }
  return slopes;
}

NormSpec LayerNormSpec(std::string module, const DenseOptions& options) {
  return {std::move(module), options.norm_eps, NormKind::kLayer, /*bias=*/true};
}

AttentionSpec MakeAttention(const Options& options, const Names& names, const std::string& layer) {
  const DenseOptions& dense = options.dense;
  AttentionSpec attention;
  attention.num_heads = dense.num_heads;
  attention.num_kv_heads = dense.num_kv_heads;
  attention.head_dim = dense.head_dim;
  const int64_t q_rows = dense.num_heads * dense.head_dim / options.qkv_groups;
  const int64_t kv_rows = dense.num_kv_heads * dense.head_dim / options.qkv_groups;
  attention.qkv =
      GroupedModule(Concat(layer, names.qkv), options.qkv_groups, {q_rows, kv_rows, kv_rows});
  attention.qkv_bias = dense.qkv_bias;
  attention.out = Concat(layer, names.attention_out);
  attention.out_bias = dense.out_bias;
  if (options.alibi) {
    // Falcon scales scores after ALiBi was added.
    attention.alibi_slopes = AlibiSlopes(dense.num_heads);
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dense.head_dim)));
    for (float& slope : attention.alibi_slopes) slope *= scale;
  }
  return attention;
}

LayerSpec MakeLayer(const Options& options, const Names& names, const std::string& prefix) {
  const DenseOptions& dense = options.dense;
  const auto norm = [&](std::string_view name) {
    return LayerNormSpec(Concat(prefix, name), dense);
  };
  LayerSpec layer;
  layer.attention_norm =
      norm(options.norms == Norms::kOfEachBlock ? names.attention_norm : names.norm);
  if (options.norms == Norms::kOfEachBlock) layer.mlp_norm = norm(names.mlp_norm);
  if (options.norms == Norms::kSequential) layer.mlp_norm = norm(names.sequential_mlp_norm);
  layer.residual =
      options.norms == Norms::kSequential ? ResidualForm::kSequential : ResidualForm::kParallel;
  layer.attention = MakeAttention(options, names, prefix);
  layer.mlp.inner = dense.inner_size;
  layer.mlp.function = ActivationFunction::kGelu;
  layer.mlp.gated = false;
  layer.mlp.gate_up = {WholeModule(Concat(prefix, names.up), dense.inner_size)};
  layer.mlp.down = Concat(prefix, names.down);
  layer.mlp.bias = dense.mlp_bias;
  return layer;
}

DecoderSpec MakeDecoder(const Options& options, const Names& names) {
  const DenseOptions& dense = options.dense;
  DecoderSpec spec;
  spec.architecture = "falcon";
  spec.hidden_size = dense.hidden_size;
  spec.vocab_size = dense.vocab_size;
  spec.max_context = dense.max_context;
  spec.rope = dense.rope;
  if (options.alibi) spec.rope.scaling = RopeScaling::kNoRotation;
  spec.embedding = std::string(names.embedding);
  spec.head = std::string(dense.tied_embeddings ? names.embedding : names.head);
  // A tied checkpoint may still carry the copy.
  if (dense.tied_embeddings) spec.repeated_tensors = {Concat(names.head, ".weight")};
  spec.final_norm = LayerNormSpec(std::string(names.final_norm), dense);
  for (int64_t i = 0; i < dense.num_layers; ++i) {
    spec.layers.push_back(MakeLayer(options, names, Concat(names.layers, i, ".")));
  }
  return spec;
}

absl::Status ReadHfSizes(const JsonFields& config, DenseOptions* dense) {
  PINGTI_ASSIGN_OR_RETURN(dense->num_layers, config.RequiredInt("num_hidden_layers", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(dense->hidden_size, config.RequiredInt("hidden_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(dense->inner_size,
                          config.IntOr("ffn_hidden_size", 4 * dense->hidden_size, 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(dense->num_heads, config.RequiredInt("num_attention_heads", 1, 1 << 16));
  if (dense->hidden_size % (2 * dense->num_heads) != 0) {
    return absl::InvalidArgumentError(Concat("'hidden_size' ", dense->hidden_size,
                                             " and 'num_attention_heads' ", dense->num_heads,
                                             "; expected heads of an even number of dimensions"));
  }
  dense->head_dim = dense->hidden_size / dense->num_heads;
  PINGTI_ASSIGN_OR_RETURN(dense->vocab_size, config.RequiredInt("vocab_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(dense->max_context,
                          config.IntOr("max_position_embeddings", 2048, 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(dense->norm_eps, config.NumberOr("layer_norm_epsilon", 1e-5, 0.0, 1.0));
  PINGTI_ASSIGN_OR_RETURN(dense->tied_embeddings, config.BoolOr("tie_word_embeddings", true));
  PINGTI_ASSIGN_OR_RETURN(dense->qkv_bias, config.BoolOr("bias", false));
  dense->out_bias = dense->mlp_bias = dense->qkv_bias;
  return absl::OkStatus();
}

// The new architecture ignores multi_query.
absl::Status ReadHfHeads(const JsonFields& config, bool new_architecture, Options* options) {
  DenseOptions& dense = options->dense;
  if (new_architecture) {
    PINGTI_ASSIGN_OR_RETURN(dense.num_kv_heads,
                            config.IntOr("num_kv_heads", dense.num_heads, 1, dense.num_heads));
    if (dense.num_heads % dense.num_kv_heads != 0) {
      return absl::InvalidArgumentError(Concat("'num_attention_heads' ", dense.num_heads,
                                               " is not a multiple of 'num_kv_heads' ",
                                               dense.num_kv_heads));
    }
  } else {
    PINGTI_ASSIGN_OR_RETURN(const bool multi_query, config.BoolOr("multi_query", true));
    dense.num_kv_heads = multi_query ? 1 : dense.num_heads;
  }
  options->qkv_groups = dense.num_kv_heads;
  return absl::OkStatus();
}

absl::Status ReadHfNorms(const JsonFields& config, bool new_architecture, Options* options) {
  PINGTI_ASSIGN_OR_RETURN(const bool parallel, config.BoolOr("parallel_attn", true));
  const int64_t most = new_architecture ? 2 : 1;
  PINGTI_ASSIGN_OR_RETURN(const int64_t norms,
                          config.IntOr("num_ln_in_parallel_attn", most, 1, most));
  if (new_architecture && !parallel) {
    return absl::UnimplementedError(
        "'parallel_attn' false with 'new_decoder_architecture' true; expected true");
  }
  options->norms = !parallel    ? Norms::kSequential
                   : norms == 2 ? Norms::kOfEachBlock
                                : Norms::kShared;
  return absl::OkStatus();
}

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  Options options;
  PINGTI_RETURN_IF_ERROR(ReadHfSizes(config, &options.dense));
  PINGTI_ASSIGN_OR_RETURN(const bool new_architecture,
                          config.BoolOr("new_decoder_architecture", false));
  PINGTI_RETURN_IF_ERROR(ReadHfHeads(config, new_architecture, &options));
  PINGTI_RETURN_IF_ERROR(ReadHfNorms(config, new_architecture, &options));
  PINGTI_ASSIGN_OR_RETURN(options.alibi, config.BoolOr("alibi", false));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "activation", "gelu"));
  PINGTI_ASSIGN_OR_RETURN(const bool residual_after_norm,
                          config.BoolOr("apply_residual_connection_post_layernorm", false));
  if (residual_after_norm) {
    return absl::UnimplementedError(
        "'apply_residual_connection_post_layernorm' true; expected false");
  }
  PINGTI_RETURN_IF_ERROR(ReadHfRope(config, &options.dense));
  return MakeDecoder(options, kHfNames);
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  const GgufKeys keys(file, "falcon.");
  PINGTI_ASSIGN_OR_RETURN(const auto layout, keys.String("tensor_data_layout"));
  if (layout.value_or("") != "jploski") {
    return absl::UnimplementedError(Concat("falcon.tensor_data_layout '", layout.value_or(""),
                                           "'; expected jploski: all queries, keys, values"));
  }
  Options options;
  PINGTI_ASSIGN_OR_RETURN(options.dense, ReadGgufDense(file, "falcon"));
  PINGTI_ASSIGN_OR_RETURN(const auto eps, keys.Float("attention.layer_norm_epsilon", 0.0, 1.0));
  options.dense.norm_eps = eps.value_or(1e-5);
  options.dense.qkv_bias = file.FindTensor("blk.0.attn_qkv.bias") != nullptr;
  options.dense.mlp_bias = file.FindTensor("blk.0.ffn_up.bias") != nullptr;
  const bool two_norms = file.FindTensor("blk.0.attn_norm_2.weight") != nullptr;
  options.norms = two_norms ? Norms::kOfEachBlock : Norms::kShared;
  return MakeDecoder(options, kGgufNames);
}

}  // namespace

Family FalconFamily() {
  return {.hf_class = "FalconForCausalLM",
          .gguf_architecture = "falcon",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
