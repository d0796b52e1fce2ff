#include "worker/model/families/qwen.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

// The MLP's w2 is the gate.
constexpr DenseNames kNames = {.embedding = "transformer.wte",
                               .head = "lm_head",
                               .final_norm = "transformer.ln_f",
                               .layers = "transformer.h.",
                               .attention_norm = "ln_1",
                               .q = "",
                               .k = "",
                               .v = "",
                               .qkv = "attn.c_attn",
                               .q_norm = "",
                               .k_norm = "",
                               .attention_out = "attn.c_proj",
                               .mlp_norm = "ln_2",
                               .gate = "mlp.w2",
                               .up = "mlp.w1",
                               .gate_up = "",
                               .down = "mlp.c_proj"};

constexpr char kChatMl[] =
    "{% if messages and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "qwen";
  PINGTI_ASSIGN_OR_RETURN(options.num_layers, config.RequiredInt("num_hidden_layers", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(options.hidden_size, config.RequiredInt("hidden_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(const int64_t both_mlp_inputs,
                          config.RequiredInt("intermediate_size", 2, kMaxSize));
  options.inner_size = both_mlp_inputs / 2;
  PINGTI_ASSIGN_OR_RETURN(options.num_heads, config.RequiredInt("num_attention_heads", 1, 1 << 16));
  options.num_kv_heads = options.num_heads;
  PINGTI_ASSIGN_OR_RETURN(options.head_dim, config.RequiredInt("kv_channels", 2, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(options.vocab_size, config.RequiredInt("vocab_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options.max_context, config.RequiredInt("seq_length", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(options.norm_eps, config.NumberOr("layer_norm_epsilon", 1e-6, 0.0, 1.0));
  PINGTI_ASSIGN_OR_RETURN(options.rope.theta, config.NumberOr("rotary_emb_base", 10000.0,
                                                              kMinRopeTheta, kMaxRopeTheta));
  PINGTI_ASSIGN_OR_RETURN(options.tied_embeddings, config.BoolOr("tie_word_embeddings", false));
  PINGTI_RETURN_IF_ERROR(ExpectHfNumber(config, "rotary_pct", 1.0));
  PINGTI_ASSIGN_OR_RETURN(const bool no_bias, config.BoolOr("no_bias", true));
  if (!no_bias) {
    return absl::UnimplementedError("'no_bias' false; expected true");
  }
  if (options.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("'kv_channels' ", options.head_dim, "; expected an even number"));
  }
  options.qkv_bias = true;
  return MakeDenseDecoder(options, kNames);
}

// ChatML and its stop tokens, which QWen's code writes instead of a template.
void AddChatFormat(std::string_view chat_format, TextAssets* text) {
  if (chat_format != "chatml" || !text->chat_template.empty()) return;
  text->chat_template = kChatMl;
  // qwen.tiktoken has one token a line; <|endoftext|>, <|im_start|> and <|im_end|> follow.
  const auto lines = std::count(text->tiktoken.begin(), text->tiktoken.end(), '\n') +
                     (text->tiktoken.empty() || text->tiktoken.back() == '\n' ? 0 : 1);
  text->eos_token_ids = {lines, lines + 2};
}

}  // namespace

Family QwenFamily() {
  return {.hf_class = "QWenLMHeadModel", .from_hf = FromHf, .add_chat_format = AddChatFormat};
}

}  // namespace pingti::worker
