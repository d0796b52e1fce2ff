#include "worker/weights/gguf_checkpoint.h"

#include <array>
#include <cmath>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {
namespace {

constexpr int64_t kMaxContext = int64_t{1} << 30;

struct NamePair {
  std::string_view gguf;
  std::string_view hf;
};

constexpr NamePair kGlobalNames[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"rope_freqs.weight", "rope_freqs.weight"},
};

constexpr NamePair kLayerNames[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
};

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; empty for a name pingti does
// not know, which is a part of the model it could not honour.
std::string HuggingFaceName(std::string_view name) {
  for (const NamePair& pair : kGlobalNames) {
    if (name == pair.gguf) return std::string(pair.hf);
  }
  constexpr std::string_view kPrefix = "blk.";
  if (name.substr(0, kPrefix.size()) != kPrefix) return "";
  name.remove_prefix(kPrefix.size());
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos || dot == 0 ||
      name.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) {
    return "";
  }
  for (const NamePair& pair : kLayerNames) {
    if (name.substr(dot + 1) == pair.gguf) {
      return Concat("model.layers.", name.substr(0, dot), ".", pair.hf);
    }
  }
  return "";
}

const TensorView* FindTensor(const std::vector<TensorView>& tensors, std::string_view name) {
  for (const TensorView& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

// Reads the keys under "<architecture>.".
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(Concat(architecture, ".")) {}

  absl::StatusOr<int64_t> Required(std::string_view key, int64_t min, int64_t max) const {
    const std::string name = prefix_ + std::string(key);
    PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int(name));
    if (!value.has_value()) {
      return absl::InvalidArgumentError(Concat("metadata key '", name, "' is missing"));
    }
    return InRange(name, *value, min, max);
  }

  absl::StatusOr<int64_t> Optional(std::string_view key, int64_t fallback, int64_t min,
                                   int64_t max) const {
    const std::string name = prefix_ + std::string(key);
    PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int(name));
    return value.has_value() ? InRange(name, *value, min, max) : fallback;
  }

  absl::StatusOr<std::optional<double>> Float(std::string_view key) const {
    const std::string name = prefix_ + std::string(key);
    PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, file_.Float(name));
    if (value.has_value() && !std::isfinite(*value)) {
      return absl::InvalidArgumentError(Concat("metadata key '", name, "' is not a finite number"));
    }
    return value;
  }

  absl::StatusOr<std::optional<std::string_view>> String(std::string_view key) const {
    return file_.String(prefix_ + std::string(key));
  }

 private:
  static absl::StatusOr<int64_t> InRange(const std::string& name, int64_t value, int64_t min,
                                         int64_t max) {
    if (value < min || value > max) {
      return absl::InvalidArgumentError(
          Concat("metadata key '", name, "' is ", value, "; expected ", min, " to ", max));
    }
    return value;
  }

  const GgufFile& file_;
  const std::string prefix_;
};

// The file's attn_factor multiplies YaRN's own factor of cos and sin; it does not replace it.
absl::Status ReadYarn(const ConfigReader& reader, RopeConfig* rope) {
  rope->scaling = RopeScaling::kYarn;
  PINGTI_ASSIGN_OR_RETURN(const auto beta_fast, reader.Float("rope.scaling.yarn_beta_fast"));
  PINGTI_ASSIGN_OR_RETURN(const auto beta_slow, reader.Float("rope.scaling.yarn_beta_slow"));
  PINGTI_ASSIGN_OR_RETURN(const auto ext_factor, reader.Float("rope.scaling.yarn_ext_factor"));
  PINGTI_ASSIGN_OR_RETURN(const auto attn_factor, reader.Float("rope.scaling.attn_factor"));
  rope->beta_fast = beta_fast.value_or(rope->beta_fast);
  rope->beta_slow = beta_slow.value_or(rope->beta_slow);
  if (ext_factor.value_or(1.0) != 1.0) {
    return absl::UnimplementedError(
        Concat("rope.scaling.yarn_ext_factor ", *ext_factor, "; expected 1"));
  }
  if (attn_factor.has_value()) {
    rope->attention_factor = *attn_factor * (0.1 * std::log(rope->factor) + 1.0);
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const ConfigReader& reader, const std::vector<TensorView>& tensors,
                      ModelConfig* config) {
  RopeConfig& rope = config->rope;
  PINGTI_ASSIGN_OR_RETURN(const int64_t rope_dim,
                          reader.Optional("rope.dimension_count", config->head_dim, 1, 1 << 16));
  if (rope_dim != config->head_dim) {
    return absl::UnimplementedError(Concat("rotary embedding of ", rope_dim, " of ",
                                           config->head_dim, " dimensions (partial rotary)"));
  }
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> theta, reader.Float("rope.freq_base"));
  rope.theta = theta.value_or(10000.0);
  if (rope.theta <= 1.0) {
    return absl::InvalidArgumentError(
        Concat("rope.freq_base is ", rope.theta, "; expected more than 1"));
  }
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string_view> type,
                          reader.String("rope.scaling.type"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> factor, reader.Float("rope.scaling.factor"));
  PINGTI_ASSIGN_OR_RETURN(
      rope.original_max_position,
      reader.Optional("rope.scaling.original_context_length", config->max_context, 1, kMaxContext));
  rope.factor = factor.value_or(1.0);
  if (!(rope.factor >= 1.0)) {
    return absl::InvalidArgumentError(
        Concat("rope.scaling.factor is ", rope.factor, "; expected 1 or more"));
  }
  // As with config.json: context_length is what the model was trained with before it was stretched.
  const auto stretched = [&rope](int64_t length) {
    return std::min(kMaxContext, static_cast<int64_t>(static_cast<double>(length) * rope.factor));
  };
  const std::string_view name = type.value_or("none");
  if (name == "linear") {
    rope.scaling = RopeScaling::kLinear;
    config->max_context = stretched(config->max_context);
  } else if (name == "yarn") {
    config->max_context = std::max(config->max_context, stretched(rope.original_max_position));
    PINGTI_RETURN_IF_ERROR(ReadYarn(reader, &rope));
  } else if (name != "none") {
    return absl::UnimplementedError(
        Concat("rope.scaling.type '", name, "'; expected none, linear or yarn"));
  }
  if (const TensorView* freqs = FindTensor(tensors, "rope_freqs.weight")) {
    if (freqs->dtype != DType::kF32 || freqs->NumElements() != config->head_dim / 2) {
      return absl::InvalidArgumentError(
          Concat("tensor 'rope_freqs.weight': ", DTypeName(freqs->dtype), " ", freqs->ShapeString(),
                 "; expected F32 [", config->head_dim / 2, "]"));
    }
    const auto* values = static_cast<const float*>(freqs->data);
    rope.freq_divisors.assign(values, values + freqs->NumElements());
    for (float value : rope.freq_divisors) {
      if (!std::isfinite(value) || value <= 0) {
        return absl::InvalidArgumentError(
            "tensor 'rope_freqs.weight' holds a value that is not "
            "positive and finite");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const ConfigReader& reader, const std::vector<TensorView>& tensors,
                       ModelConfig* config) {
  constexpr int64_t kMaxSize = int64_t{1} << 24;
  PINGTI_ASSIGN_OR_RETURN(config->num_layers, reader.Required("block_count", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(config->hidden_size, reader.Required("embedding_length", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->intermediate_size,
                          reader.Required("feed_forward_length", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(config->num_heads, reader.Required("attention.head_count", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(
      config->num_kv_heads,
      reader.Optional("attention.head_count_kv", config->num_heads, 1, config->num_heads));
  if (config->num_heads % config->num_kv_heads != 0) {
    return absl::InvalidArgumentError(Concat("attention.head_count ", config->num_heads,
                                             " is not a multiple of attention.head_count_kv ",
                                             config->num_kv_heads));
  }
  PINGTI_ASSIGN_OR_RETURN(
      config->head_dim,
      reader.Optional("attention.key_length", config->hidden_size / config->num_heads, 1, 1 << 16));
  if (config->head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("heads of ", config->head_dim, " dimensions; expected an even number"));
  }
  PINGTI_ASSIGN_OR_RETURN(const int64_t value_length,
                          reader.Optional("attention.value_length", config->head_dim, 1, 1 << 16));
  if (value_length != config->head_dim) {
    return absl::UnimplementedError(Concat("attention.value_length ", value_length,
                                           " differs from key_length ", config->head_dim));
  }
  PINGTI_ASSIGN_OR_RETURN(config->max_context, reader.Required("context_length", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> eps,
                          reader.Float("attention.layer_norm_rms_epsilon"));
  config->rms_norm_eps = eps.value_or(1e-5);
  PINGTI_ASSIGN_OR_RETURN(const int64_t experts, reader.Optional("expert_count", 0, 0, 1 << 16));
  if (experts != 0) {
    return absl::UnimplementedError(Concat("mixture of experts (expert_count ", experts, ")"));
  }
  PINGTI_ASSIGN_OR_RETURN(const int64_t window,
                          reader.Optional("attention.sliding_window", 0, 0, 1 << 30));
  config->window.assign(static_cast<size_t>(config->num_layers), window);
  const TensorView* embedding = FindTensor(tensors, "model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return absl::InvalidArgumentError("tensor 'token_embd.weight' is missing or not a matrix");
  }
  config->vocab_size = embedding->shape[0];
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file,
                                       const std::vector<TensorView>& tensors) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                          file.String("general.architecture"));
  if (!architecture.has_value()) {
    return absl::InvalidArgumentError("metadata key 'general.architecture' is missing");
  }
  if (*architecture != "llama" && *architecture != "qwen2" && *architecture != "qwen3") {
    return absl::UnimplementedError(
        Concat("architecture '", *architecture, "'; expected llama, qwen2 or qwen3"));
  }
  ModelConfig config;
  config.architecture = std::string(*architecture);
  const ConfigReader reader(file, *architecture);
  PINGTI_RETURN_IF_ERROR(ReadSizes(reader, tensors, &config));
  PINGTI_RETURN_IF_ERROR(ReadRope(reader, tensors, &config));
  config.tie_embeddings = FindTensor(tensors, "lm_head.weight") == nullptr;
  config.qkv_bias = FindTensor(tensors, "model.layers.0.self_attn.q_proj.bias") != nullptr;
  config.o_bias = FindTensor(tensors, "model.layers.0.self_attn.o_proj.bias") != nullptr;
  config.qk_norm = *architecture == "qwen3";
  return config;
}

template <typename To, typename From>
std::vector<To> Convert(const std::vector<From>* from) {
  std::vector<To> to;
  if (from == nullptr) return to;
  to.reserve(from->size());
  for (const From& value : *from) to.push_back(static_cast<To>(value));
  return to;
}

absl::StatusOr<TextAssets> ReadText(const GgufFile& file) {
  TextAssets text;
  PINGTI_ASSIGN_OR_RETURN(const auto model, file.String("tokenizer.ggml.model"));
  if (model.has_value() && *model != "none") {
    GgufTokenizerKeys keys;
    keys.model = std::string(*model);
    PINGTI_ASSIGN_OR_RETURN(const auto pre, file.String("tokenizer.ggml.pre"));
    keys.pre = std::string(pre.value_or(""));
    PINGTI_ASSIGN_OR_RETURN(const auto* tokens, file.Strings("tokenizer.ggml.tokens"));
    PINGTI_ASSIGN_OR_RETURN(const auto* merges, file.Strings("tokenizer.ggml.merges"));
    PINGTI_ASSIGN_OR_RETURN(const auto* scores, file.Floats("tokenizer.ggml.scores"));
    PINGTI_ASSIGN_OR_RETURN(const auto* types, file.Ints("tokenizer.ggml.token_type"));
    keys.tokens = Convert<std::string>(tokens);
    keys.merges = Convert<std::string>(merges);
    keys.scores = Convert<float>(scores);
    keys.token_types = Convert<int32_t>(types);
    PINGTI_ASSIGN_OR_RETURN(keys.bos_token_id, file.Int("tokenizer.ggml.bos_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.eos_token_id, file.Int("tokenizer.ggml.eos_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.unknown_token_id, file.Int("tokenizer.ggml.unknown_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.padding_token_id, file.Int("tokenizer.ggml.padding_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_bos_token, file.Bool("tokenizer.ggml.add_bos_token"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_eos_token, file.Bool("tokenizer.ggml.add_eos_token"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_space_prefix, file.Bool("tokenizer.ggml.add_space_prefix"));
    text.bos_token_id = keys.bos_token_id;
    text.pad_token_id = keys.padding_token_id;
    text.add_bos_token = keys.add_bos_token.value_or(false);
    text.gguf = std::move(keys);
  }
  // A chat turn may end with a token of its own beside the end of text.
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> id, file.Int(key));
    if (id.has_value()) text.eos_token_ids.push_back(*id);
  }
  PINGTI_ASSIGN_OR_RETURN(const auto chat_template, file.String("tokenizer.chat_template"));
  text.chat_template = std::string(chat_template.value_or(""));
  PINGTI_ASSIGN_OR_RETURN(const auto* names, file.Strings("tokenizer.chat_templates"));
  for (const std::string& name : Convert<std::string>(names)) {
    PINGTI_ASSIGN_OR_RETURN(const auto named, file.String("tokenizer.chat_template." + name));
    if (named.has_value()) text.named_templates[name] = std::string(*named);
  }
  return text;
}

}  // namespace

absl::StatusOr<Checkpoint::Parts> ParseGgufCheckpoint(std::string_view bytes) {
  PINGTI_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(bytes));
  Checkpoint::Parts parts;
  parts.format = "gguf";
  for (const TensorView& tensor : file.tensors()) {
    TensorView renamed = tensor;
    renamed.name = HuggingFaceName(tensor.name);
    if (renamed.name.empty()) {
      return absl::UnimplementedError(
          Concat("tensor '", tensor.name, "' belongs to no part of a model that pingti has"));
    }
    parts.tensors.push_back(std::move(renamed));
  }
  PINGTI_ASSIGN_OR_RETURN(parts.config, ReadConfig(file, parts.tensors));
  PINGTI_ASSIGN_OR_RETURN(parts.text, ReadText(file));
  // llama.cpp's converter reorders the rows of q and k of this architecture, so that RoPE rotates
  // adjacent pairs; pingti rotates halves everywhere and undoes it while loading.
  parts.qk_rows_interleaved = parts.config.architecture == "llama";
  PINGTI_ASSIGN_OR_RETURN(const auto name, file.String("general.name"));
  parts.display_name = std::string(name.value_or(""));
  return parts;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGgufCheckpoint(const std::string& path) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, MappedFile::Open(path));
  absl::StatusOr<Checkpoint::Parts> parts = ParseGgufCheckpoint(mapped->bytes());
  if (!parts.ok()) {
    return absl::Status(parts.status().code(),
                        Concat(path, ": ", std::string(parts.status().message())));
  }
  parts->path = path;
  if (parts->display_name.empty()) parts->display_name = path.substr(path.rfind('/') + 1);
  parts->files.push_back(std::move(mapped));
  return std::make_unique<Checkpoint>(std::move(*parts));
}

}  // namespace pingti::worker
