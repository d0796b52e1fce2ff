#include "worker/weights/qwen1.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;

constexpr char kChatMl[] =
    "{% if messages and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Outside the blocks, and within one ("transformer.h.N."). The MLP's w2 is the gate.
constexpr std::pair<std::string_view, std::string_view> kModelNames[] = {
    {"transformer.wte.weight", "model.embed_tokens.weight"},
    {"transformer.ln_f.weight", "model.norm.weight"},
    {"lm_head.weight", "lm_head.weight"},
};
constexpr std::pair<std::string_view, std::string_view> kLayerNames[] = {
    {"ln_1.weight", "input_layernorm.weight"},
    {"ln_2.weight", "post_attention_layernorm.weight"},
    {"attn.c_proj.weight", "self_attn.o_proj.weight"},
    {"mlp.w1.weight", "mlp.up_proj.weight"},
    {"mlp.w2.weight", "mlp.gate_proj.weight"},
    {"mlp.c_proj.weight", "mlp.down_proj.weight"},
};
constexpr std::string_view kBlocks = "transformer.h.";

// Three views of equal numbers of rows.
absl::Status SplitAttention(const TensorView& fused, const ModelConfig& config,
                            const std::string& layer, std::string_view kind,
                            std::vector<TensorView>* out) {
  const int64_t rows = config.num_heads * config.head_dim;
  if (fused.shape.empty() || fused.shape[0] != 3 * rows) {
    return absl::InvalidArgumentError(Concat("tensor '", fused.name, "' ", DTypeName(fused.dtype),
                                             " ", fused.ShapeString(), ": expected ", 3 * rows,
                                             " rows, those of q, k and v"));
  }
  for (int i = 0; i < 3; ++i) {
    TensorView part = fused;
    part.name = Concat(layer, "self_attn.", std::string_view("qkv").substr(i, 1), "_proj.", kind);
    part.shape[0] = rows;
    part.bytes = fused.bytes / 3;
    part.data = static_cast<const char*>(fused.data) + i * part.bytes;
    out->push_back(std::move(part));
  }
  return absl::OkStatus();
}

std::optional<std::string> LayerName(std::string_view layer, std::string_view name) {
  for (const auto& [from, to] : kLayerNames) {
    if (name == from) return Concat(layer, to);
  }
  return std::nullopt;
}

absl::Status RenameOne(const ModelConfig& config, const TensorView& tensor,
                       std::vector<TensorView>* out) {
  const std::string_view name = tensor.name;
  TensorView renamed = tensor;
  for (const auto& [from, to] : kModelNames) {
    if (name != from) continue;
    renamed.name = std::string(to);
    out->push_back(std::move(renamed));
    return absl::OkStatus();
  }
  if (name.substr(0, kBlocks.size()) == kBlocks) {
    const size_t dot = name.find('.', kBlocks.size());
    if (dot != std::string_view::npos) {
      const std::string layer =
          Concat("model.layers.", name.substr(kBlocks.size(), dot - kBlocks.size()), ".");
      const std::string_view rest = name.substr(dot + 1);
      if (rest == "attn.c_attn.weight") {
        return SplitAttention(tensor, config, layer, "weight", out);
      }
      if (rest == "attn.c_attn.bias") return SplitAttention(tensor, config, layer, "bias", out);
      if (std::optional<std::string> known = LayerName(layer, rest)) {
        renamed.name = *std::move(known);
        out->push_back(std::move(renamed));
        return absl::OkStatus();
      }
    }
  }
  return absl::UnimplementedError(
      Concat("tensor '", name, "' belongs to no part of a ", kQwen1Class));
}

}  // namespace

absl::Status ReadQwen1Config(const JsonFields& fields, ModelConfig* config) {
  PINGTI_ASSIGN_OR_RETURN(config->num_layers, fields.RequiredInt("num_hidden_layers", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(config->hidden_size, fields.RequiredInt("hidden_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(const int64_t both_mlp_inputs,
                          fields.RequiredInt("intermediate_size", 2, kMaxSize));
  config->intermediate_size = both_mlp_inputs / 2;
  PINGTI_ASSIGN_OR_RETURN(config->num_heads, fields.RequiredInt("num_attention_heads", 1, 1 << 16));
  config->num_kv_heads = config->num_heads;
  PINGTI_ASSIGN_OR_RETURN(config->head_dim, fields.RequiredInt("kv_channels", 2, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(config->vocab_size, fields.RequiredInt("vocab_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->max_context, fields.RequiredInt("seq_length", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(const auto eps, fields.Number("layer_norm_epsilon"));
  config->rms_norm_eps = eps.value_or(1e-6);
  PINGTI_ASSIGN_OR_RETURN(const auto theta, fields.Number("rotary_emb_base"));
  config->rope.theta = theta.value_or(10000.0);
  PINGTI_ASSIGN_OR_RETURN(const auto tie, fields.Bool("tie_word_embeddings"));
  config->tie_embeddings = tie.value_or(false);
  PINGTI_ASSIGN_OR_RETURN(const auto rotated, fields.Number("rotary_pct"));
  if (rotated.value_or(1.0) != 1.0) {
    return absl::UnimplementedError(Concat("'rotary_pct' ", *rotated, "; expected 1"));
  }
  PINGTI_ASSIGN_OR_RETURN(const auto no_bias, fields.Bool("no_bias"));
  if (!no_bias.value_or(true)) {
    return absl::UnimplementedError("'no_bias' false; expected true");
  }
  if (config->head_dim % 2 != 0 || !(config->rope.theta > 1.0)) {
    return absl::InvalidArgumentError(Concat("'kv_channels' ", config->head_dim,
                                             ", 'rotary_emb_base' ", config->rope.theta,
                                             "; expected an even number and more than 1"));
  }
  config->qkv_bias = true;
  config->window.assign(static_cast<size_t>(config->num_layers), 0);
  return absl::OkStatus();
}

absl::Status RenameQwen1Tensors(const ModelConfig& config, std::vector<TensorView>* tensors) {
  std::vector<TensorView> renamed;
  for (const TensorView& tensor : *tensors) {
    PINGTI_RETURN_IF_ERROR(RenameOne(config, tensor, &renamed));
  }
  *tensors = std::move(renamed);
  return absl::OkStatus();
}

void AddQwen1ChatFormat(TextAssets* text) {
  if (!text->chat_template.empty()) return;
  text->chat_template = kChatMl;
  // qwen.tiktoken has one token a line; <|endoftext|>, <|im_start|> and <|im_end|> follow.
  const auto lines = std::count(text->tiktoken.begin(), text->tiktoken.end(), '\n') +
                     (text->tiktoken.empty() || text->tiktoken.back() == '\n' ? 0 : 1);
  text->eos_token_ids = {lines, lines + 2};
}

}  // namespace pingti::worker
