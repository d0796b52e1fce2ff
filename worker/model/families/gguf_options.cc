#include "worker/model/families/gguf_options.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

// The file's attn_factor multiplies YaRN's own factor of cos and sin; it does not replace it.
absl::Status ReadYarn(const GgufKeys& keys, RopeConfig* rope) {
  rope->scaling = RopeScaling::kYarn;
  PINGTI_ASSIGN_OR_RETURN(const auto beta_fast,
                          keys.Float("rope.scaling.yarn_beta_fast", 1e-9, 1e6));
  PINGTI_ASSIGN_OR_RETURN(const auto beta_slow,
                          keys.Float("rope.scaling.yarn_beta_slow", 1e-9, 1e6));
  PINGTI_ASSIGN_OR_RETURN(const auto ext_factor,
                          keys.Float("rope.scaling.yarn_ext_factor", -1e6, 1e6));
  PINGTI_ASSIGN_OR_RETURN(const auto attn_factor,
                          keys.Float("rope.scaling.attn_factor", 1e-9, 1e3));
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

constexpr std::string_view kRopeFreqs = "rope_freqs.weight";
constexpr std::string_view kShortFactors = "rope_factors_short.weight";
constexpr std::string_view kLongFactors = "rope_factors_long.weight";

// What frequencies are divided by; left alone when there is no such tensor.
absl::Status ReadDivisors(const GgufFile& file, std::string_view name, int64_t count,
                          std::vector<float>* divisors) {
  const TensorView* tensor = file.FindTensor(name);
  if (tensor == nullptr) return absl::OkStatus();
  if (tensor->dtype != DType::kF32 || tensor->NumElements() != count) {
    return absl::InvalidArgumentError(Concat("tensor '", name, "': ", DTypeName(tensor->dtype), " ",
                                             tensor->ShapeString(), "; expected F32 [", count,
                                             "]"));
  }
  divisors->resize(static_cast<size_t>(count));
  std::memcpy(divisors->data(), tensor->data, static_cast<size_t>(count) * 4);
  for (const float value : *divisors) {
    if (!std::isfinite(value) || value <= 0) {
      return absl::InvalidArgumentError(
          Concat("tensor '", name, "' holds a value that is not positive and finite"));
    }
  }
  return absl::OkStatus();
}

// The two lists of LongRoPE's divisors are tensors; the factor of cos and sin is a key.
absl::Status ReadLongRope(const GgufFile& file, const GgufKeys& keys, bool expected,
                          DenseOptions* options) {
  RopeConfig& rope = options->rope;
  const bool has_short = file.FindTensor(kShortFactors) != nullptr;
  if (has_short != (file.FindTensor(kLongFactors) != nullptr)) {
    return absl::InvalidArgumentError(Concat("of tensors '", kShortFactors, "' and '", kLongFactors,
                                             "' there is only one; expected both or none"));
  }
  if (!has_short && expected) {
    return absl::InvalidArgumentError(
        Concat("tensor '", kShortFactors, "' is missing; rope.scaling.type 'longrope' needs it"));
  }
  if (!has_short) return absl::OkStatus();
  const int64_t pairs = options->rotary_dim() / 2;
  PINGTI_RETURN_IF_ERROR(ReadDivisors(file, kShortFactors, pairs, &rope.freq_divisors));
  PINGTI_RETURN_IF_ERROR(ReadDivisors(file, kLongFactors, pairs, &rope.long_divisors));
  PINGTI_ASSIGN_OR_RETURN(rope.attention_factor, keys.Float("rope.scaling.attn_factor", 1e-9, 1e3));
  rope.scaling = RopeScaling::kLongRope;
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufFile& file, const GgufKeys& keys, DenseOptions* options) {
  RopeConfig& rope = options->rope;
  PINGTI_ASSIGN_OR_RETURN(const int64_t rope_dim,
                          keys.IntOr("rope.dimension_count", options->head_dim, 1, 1 << 16));
  const bool fits = rope_dim < options->head_dim && rope_dim % 2 == 0;
  if (rope_dim != options->head_dim && !(options->may_rotate_partly && fits)) {
    return absl::UnimplementedError(Concat("rotary embedding of ", rope_dim, " of ",
                                           options->head_dim, " dimensions (partial rotary)"));
  }
  rope.rotary_dim = rope_dim == options->head_dim ? 0 : rope_dim;
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> theta,
                          keys.Float("rope.freq_base", kMinRopeTheta, kMaxRopeTheta));
  rope.theta = theta.value_or(10000.0);
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string_view> type,
                          keys.String("rope.scaling.type"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> factor,
                          keys.Float("rope.scaling.factor", 1.0, kMaxRopeFactor));
  PINGTI_ASSIGN_OR_RETURN(
      rope.original_max_position,
      keys.IntOr("rope.scaling.original_context_length", options->max_context, 1, kMaxContext));
  rope.factor = factor.value_or(1.0);
  // As with config.json: context_length is what the model was trained with before it was stretched.
  const auto stretched = [&rope](int64_t length) {
    return static_cast<int64_t>(
        std::min(static_cast<double>(kMaxContext), static_cast<double>(length) * rope.factor));
  };
  const std::string_view name = type.value_or("none");
  if (name == "linear") {
    rope.scaling = RopeScaling::kLinear;
    options->max_context = stretched(options->max_context);
  } else if (name == "yarn") {
    options->max_context = std::max(options->max_context, stretched(rope.original_max_position));
    PINGTI_RETURN_IF_ERROR(ReadYarn(keys, &rope));
  } else if (name != "none" && name != "longrope") {
    return absl::UnimplementedError(
        Concat("rope.scaling.type '", name, "'; expected none, linear, yarn or longrope"));
  }
  PINGTI_RETURN_IF_ERROR(
      ReadDivisors(file, kRopeFreqs, options->rotary_dim() / 2, &rope.freq_divisors));
  return ReadLongRope(file, keys, name == "longrope", options);
}

// Heads whose keys and values are of equal size.
absl::Status ReadHeadDim(const GgufKeys& keys, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(
      options->head_dim,
      keys.IntOr("attention.key_length", options->hidden_size / options->num_heads, 1, 1 << 16));
  if (options->head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("heads of ", options->head_dim, " dimensions; expected an even number"));
  }
  PINGTI_ASSIGN_OR_RETURN(const int64_t value_length,
                          keys.IntOr("attention.value_length", options->head_dim, 1, 1 << 16));
  if (value_length == options->head_dim) return absl::OkStatus();
  return absl::UnimplementedError(Concat("attention.value_length ", value_length,
                                         " differs from key_length ", options->head_dim));
}

absl::Status ReadSizes(const GgufFile& file, const GgufKeys& keys, const GgufFeatures& features,
                       DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(options->num_layers, keys.RequiredInt("block_count", 1, 1024));
  PINGTI_ASSIGN_OR_RETURN(options->hidden_size, keys.RequiredInt("embedding_length", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options->inner_size,
                          keys.RequiredInt("feed_forward_length", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(options->num_heads, keys.RequiredInt("attention.head_count", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(
      options->num_kv_heads,
      keys.IntOr("attention.head_count_kv", options->num_heads, 1, options->num_heads));
  if (options->num_heads % options->num_kv_heads != 0) {
    return absl::InvalidArgumentError(Concat("attention.head_count ", options->num_heads,
                                             " is not a multiple of attention.head_count_kv ",
                                             options->num_kv_heads));
  }
  if (features.has_latent_attention) {
    PINGTI_ASSIGN_OR_RETURN(options->head_dim,
                            keys.RequiredInt("rope.dimension_count", 2, 1 << 16));
  } else {
    PINGTI_RETURN_IF_ERROR(ReadHeadDim(keys, options));
  }
  PINGTI_ASSIGN_OR_RETURN(options->max_context, keys.RequiredInt("context_length", 1, kMaxContext));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> eps,
                          keys.Float("attention.layer_norm_rms_epsilon", 0.0, 1.0));
  options->norm_eps = eps.value_or(1e-5);
  PINGTI_ASSIGN_OR_RETURN(const int64_t window,
                          keys.IntOr("attention.sliding_window", 0, 0, 1 << 30));
  options->window.assign(static_cast<size_t>(options->num_layers), window);
  const TensorView* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return absl::InvalidArgumentError("tensor 'token_embd.weight' is missing or not a matrix");
  }
  options->vocab_size = embedding->shape[0];
  return absl::OkStatus();
}

bool HasBias(const GgufFile& file, std::string_view module) {
  return file.FindTensor(Concat(module, ".bias")) != nullptr;
}

}  // namespace

absl::StatusOr<DenseOptions> ReadGgufDense(const GgufFile& file, std::string_view architecture,
                                           const GgufFeatures& features) {
  DenseOptions options;
  options.may_rotate_partly = features.rotates_partly;
  options.architecture = std::string(architecture);
  const GgufKeys keys(file, Concat(architecture, "."));
  PINGTI_ASSIGN_OR_RETURN(const int64_t experts, keys.IntOr("expert_count", 0, 0, 1 << 16));
  if (experts != 0 && !features.has_experts) {
    return absl::UnimplementedError(Concat("mixture of experts (expert_count ", experts, ")"));
  }
  PINGTI_RETURN_IF_ERROR(ReadSizes(file, keys, features, &options));
  PINGTI_RETURN_IF_ERROR(ReadRope(file, keys, &options));
  options.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  options.qkv_bias = HasBias(file, "blk.0.attn_q");
  options.out_bias = HasBias(file, "blk.0.attn_output");
  return options;
}

DecoderSpec MakeGgufDenseDecoder(const DenseOptions& options, const DenseNames& names) {
  DecoderSpec spec = MakeDenseDecoder(options, names);
  for (const std::string_view name : {kRopeFreqs, kShortFactors, kLongFactors}) {
    spec.repeated_tensors.emplace_back(name);  // RopeConfig's divisors
  }
  return spec;
}

}  // namespace pingti::worker
