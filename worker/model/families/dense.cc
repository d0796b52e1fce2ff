#include "worker/model/families/dense.h"

#include <utility>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

// Rows of `heads` heads that begin at row `first` of a module, in the order that makes pair i of a
// head (i, i + head_dim / 2) where only its first dimensions rotate; see RopeConfig::rotary_dim.
void AddPartlyRotatedHeads(const DenseOptions& options, const RowBlock& module, int64_t first,
                           int64_t heads, std::vector<RowBlock>* rows) {
  const int64_t turning = options.rotary_dim() / 2;
  const int64_t still = (options.head_dim - options.rotary_dim()) / 2;
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t begin = first + head * options.head_dim;
    const auto add = [&](int64_t from, int64_t count) {
      rows->push_back({module.module, count, begin + from, module.module_rows});
    };
    add(0, turning);
    add(2 * turning, still);
    add(turning, turning);
    add(2 * turning + still, still);
  }
}

std::vector<RowBlock> PartlyRotatedRows(const DenseOptions& options,
                                        const std::vector<RowBlock>& qkv) {
  std::vector<RowBlock> rows;
  AddPartlyRotatedHeads(options, qkv[0], qkv[0].first, options.num_heads, &rows);
  AddPartlyRotatedHeads(options, qkv[1], qkv[1].first, options.num_kv_heads, &rows);
  rows.push_back(qkv[2]);
  return rows;
}

std::vector<RowBlock> QkvRows(const DenseOptions& options, const DenseNames& names,
                              const std::string& layer) {
  const int64_t q = options.num_heads * options.head_dim;
  const int64_t kv = options.num_kv_heads * options.head_dim;
  if (!names.qkv.empty()) return StackedModule(Concat(layer, names.qkv), {q, kv, kv});
  const bool interleaved = options.interleaved_qk;
  return {WholeModule(Concat(layer, names.q), q, interleaved ? options.num_heads : 0),
          WholeModule(Concat(layer, names.k), kv, interleaved ? options.num_kv_heads : 0),
          WholeModule(Concat(layer, names.v), kv)};
}

AttentionSpec MakeAttention(const DenseOptions& options, const DenseNames& names,
                            const std::string& layer, size_t index) {
  AttentionSpec attention;
  attention.num_heads = options.num_heads;
  attention.num_kv_heads = options.num_kv_heads;
  attention.head_dim = options.head_dim;
  if (!options.window.empty()) attention.window = options.window[index];
  attention.qkv = QkvRows(options, names, layer);
  if (options.rope.rotary_dim != 0) attention.qkv = PartlyRotatedRows(options, attention.qkv);
  attention.qkv_bias = options.qkv_bias;
  attention.out = Concat(layer, names.attention_out);
  attention.out_bias = options.out_bias;
  if (options.qk_norm) {
    attention.q_norm = NormSpec{Concat(layer, names.q_norm), options.norm_eps};
    attention.k_norm = NormSpec{Concat(layer, names.k_norm), options.norm_eps};
  }
  return attention;
}

MlpSpec MakeMlp(const DenseOptions& options, const DenseNames& names, const std::string& layer) {
  MlpSpec mlp;
  mlp.inner = options.inner_size;
  if (names.gate_up.empty()) {
    mlp.gate_up = {WholeModule(Concat(layer, names.gate), mlp.inner),
                   WholeModule(Concat(layer, names.up), mlp.inner)};
  } else {
    mlp.gate_up = StackedModule(Concat(layer, names.gate_up), {mlp.inner, mlp.inner});
  }
  mlp.down = Concat(layer, names.down);
  mlp.bias = options.mlp_bias;
  return mlp;
}

}  // namespace

const DenseNames& HfDenseNames() {
  static constexpr DenseNames names = {.embedding = "model.embed_tokens",
                                       .head = "lm_head",
                                       .final_norm = "model.norm",
                                       .layers = "model.layers.",
                                       .attention_norm = "input_layernorm",
                                       .q = "self_attn.q_proj",
                                       .k = "self_attn.k_proj",
                                       .v = "self_attn.v_proj",
                                       .qkv = "",
                                       .q_norm = "self_attn.q_norm",
                                       .k_norm = "self_attn.k_norm",
                                       .attention_out = "self_attn.o_proj",
                                       .mlp_norm = "post_attention_layernorm",
                                       .gate = "mlp.gate_proj",
                                       .up = "mlp.up_proj",
                                       .gate_up = "",
                                       .down = "mlp.down_proj"};
  return names;
}

const DenseNames& GgufDenseNames() {
  static constexpr DenseNames names = {.embedding = "token_embd",
                                       .head = "output",
                                       .final_norm = "output_norm",
                                       .layers = "blk.",
                                       .attention_norm = "attn_norm",
                                       .q = "attn_q",
                                       .k = "attn_k",
                                       .v = "attn_v",
                                       .qkv = "",
                                       .q_norm = "attn_q_norm",
                                       .k_norm = "attn_k_norm",
                                       .attention_out = "attn_output",
                                       .mlp_norm = "ffn_norm",
                                       .gate = "ffn_gate",
                                       .up = "ffn_up",
                                       .gate_up = "",
                                       .down = "ffn_down"};
  return names;
}

DecoderSpec MakeDenseDecoder(const DenseOptions& options, const DenseNames& names) {
  DecoderSpec spec;
  spec.architecture = options.architecture;
  spec.hidden_size = options.hidden_size;
  spec.vocab_size = options.vocab_size;
  spec.max_context = options.max_context;
  spec.rope = options.rope;
  spec.embedding = std::string(names.embedding);
  spec.head = std::string(options.tied_embeddings ? names.embedding : names.head);
  // A tied checkpoint may still carry the copy.
  if (options.tied_embeddings) spec.repeated_tensors = {Concat(names.head, ".weight")};
  spec.final_norm = {std::string(names.final_norm), options.norm_eps};
  for (int64_t i = 0; i < options.num_layers; ++i) {
    const std::string layer = Concat(names.layers, i, ".");
    LayerSpec block;
    block.attention_norm = {Concat(layer, names.attention_norm), options.norm_eps};
    block.attention = MakeAttention(options, names, layer, static_cast<size_t>(i));
    block.mlp_norm = NormSpec{Concat(layer, names.mlp_norm), options.norm_eps};
    block.mlp = MakeMlp(options, names, layer);
    spec.layers.push_back(std::move(block));
  }
  return spec;
}

}  // namespace pingti::worker
