#include "worker/model/families/deepseek.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

// Of the latents' norms, whatever rms_norm_eps is.
constexpr double kLatentNormEps = 1e-6;
constexpr int64_t kMaxGroups = 64;  // of experts; what backends choose from

constexpr ExpertsNames kV2Names = {.router = "mlp.gate",
                                   .correction_bias = "",
                                   .experts = "mlp.experts.",
                                   .gate = "gate_proj",
                                   .up = "up_proj",
                                   .down = "down_proj",
                                   .shared_router = "",
                                   .shared_gate = "mlp.shared_experts.gate_proj",
                                   .shared_up = "mlp.shared_experts.up_proj",
                                   .shared_down = "mlp.shared_experts.down_proj"};

ExpertsNames V3Names() {
  ExpertsNames names = kV2Names;
  names.correction_bias = "mlp.gate.e_score_correction_bias";
  return names;
}

// YaRN's factor of queries and keys alike, for which the cosines and sines have none.
double ScoreScale(const RopeConfig& rope, int64_t query_dim) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(query_dim));
  if (rope.scaling != RopeScaling::kYarn || rope.factor <= 1.0) return scale;
  const double factor = 0.1 * rope.mscale_all_dim.value_or(0.0) * std::log(rope.factor) + 1.0;
  return scale * factor * factor;
}

// Sizes alone; modules are named layer by layer.
absl::StatusOr<LatentAttentionSpec> ReadAttention(const JsonFields& config,
                                                  const DenseOptions& options) {
  LatentAttentionSpec attention;
  attention.num_heads = options.num_heads;
  PINGTI_ASSIGN_OR_RETURN(attention.nope_dim, config.RequiredInt("qk_nope_head_dim", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(attention.rope_dim, config.RequiredInt("qk_rope_head_dim", 2, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(attention.value_dim, config.RequiredInt("v_head_dim", 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(attention.latent_dim, config.RequiredInt("kv_lora_rank", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(attention.query_latent_dim, config.IntOr("q_lora_rank", 0, 1, kMaxSize));
  if (attention.rope_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("'qk_rope_head_dim' ", attention.rope_dim, "; expected an even number"));
  }
  attention.scale = ScoreScale(options.rope, attention.query_dim());
  return attention;
}

// Modules of a layer's attention, without its prefix.
struct LatentNames {
  std::string_view q;
  std::string_view q_a;
  std::string_view q_a_norm;
  std::string_view q_b;
  std::string_view kv_a;
  std::string_view kv_a_norm;
  std::string_view kv_b;  // empty: `k_b` and `v_b` hold its two halves, k_b's heads not transposed
  std::string_view k_b;
  std::string_view v_b;
  std::string_view out;
};

constexpr LatentNames kHfNames = {.q = "self_attn.q_proj",
                                  .q_a = "self_attn.q_a_proj",
                                  .q_a_norm = "self_attn.q_a_layernorm",
                                  .q_b = "self_attn.q_b_proj",
                                  .kv_a = "self_attn.kv_a_proj_with_mqa",
                                  .kv_a_norm = "self_attn.kv_a_layernorm",
                                  .kv_b = "self_attn.kv_b_proj",
                                  .k_b = "",
                                  .v_b = "",
                                  .out = "self_attn.o_proj"};

constexpr LatentNames kGgufNames = {.q = "attn_q",
                                    .q_a = "attn_q_a",
                                    .q_a_norm = "attn_q_a_norm",
                                    .q_b = "attn_q_b",
                                    .kv_a = "attn_kv_a_mqa",
                                    .kv_a_norm = "attn_kv_a_norm",
                                    .kv_b = "",
                                    .k_b = "attn_k_b",
                                    .v_b = "attn_v_b",
                                    .out = "attn_output"};

void NameAttention(const LatentNames& names, const std::string& layer, double norm_eps,
                   LatentAttentionSpec* attention) {
  const auto module = [&layer](std::string_view name) { return Concat(layer, name); };
  const int64_t heads = attention->num_heads;
  const int64_t query_rows = heads * attention->query_dim();
  if (attention->query_latent_dim == 0) {
    attention->in = {WholeModule(module(names.q), query_rows)};
  } else {
    attention->in = {WholeModule(module(names.q_a), attention->query_latent_dim)};
    attention->query_norm = NormSpec{module(names.q_a_norm), norm_eps};
    attention->query = {WholeModule(module(names.q_b), query_rows)};
  }
  attention->in.push_back(
      WholeModule(module(names.kv_a), attention->latent_dim + attention->rope_dim));
  attention->latent_norm = {module(names.kv_a_norm), norm_eps};
  attention->keys_transposed = !names.kv_b.empty();
  if (names.kv_b.empty()) {
    const auto of_each = [heads](int64_t rows) {
      return std::vector<int64_t>(static_cast<size_t>(heads), rows);
    };
    attention->keys = StackedModule(module(names.k_b), of_each(attention->latent_dim));
    attention->values = StackedModule(module(names.v_b), of_each(attention->value_dim));
  } else {
    // A head's rows are its key's, then its value's.
    const std::vector<RowBlock> of_heads =
        GroupedModule(module(names.kv_b), heads, {attention->nope_dim, attention->value_dim});
    attention->keys = {of_heads[0]};
    attention->values = {of_heads[1]};
  }
  attention->out = module(names.out);
}

void AddLatentAttention(const LatentNames& names, std::string_view layers, double norm_eps,
                        LatentAttentionSpec attention, DecoderSpec* spec) {
  for (int64_t i = 0; i < spec->num_layers(); ++i) {
    LayerSpec& layer = spec->layers[static_cast<size_t>(i)];
    NameAttention(names, Concat(layers, i, "."), norm_eps, &attention);
    layer.attention = {};
    layer.latent_attention = attention;
  }
}

// That a token finds its experts in the groups that are chosen for it. `count` and `chosen`: the
// fields that say how many groups there are and how many a token takes.
absl::Status CheckGroups(std::string_view count, std::string_view chosen,
                         const ExpertRouting& routing) {
  const int64_t experts = routing.num_experts;
  if (experts % routing.num_groups != 0) {
    return absl::InvalidArgumentError(Concat("'", count, "' ", routing.num_groups,
                                             ": expected a divisor of the ", experts, " experts"));
  }
  const int64_t group = experts / routing.num_groups;
  const int64_t choice = group * routing.groups_per_token;
  if (routing.num_groups > 1 &&
      (group < routing.group_best || choice < routing.experts_per_token)) {
    return absl::InvalidArgumentError(Concat(
        "'", count, "' ", routing.num_groups, " and '", chosen, "' ", routing.groups_per_token,
        " leave ", choice, " experts in groups of ", group, " to choose from; expected at least ",
        routing.experts_per_token, ", in groups of at least ", routing.group_best));
  }
  return absl::OkStatus();
}

absl::Status ReadGroups(const JsonFields& config, ExpertRouting* routing) {
  PINGTI_ASSIGN_OR_RETURN(routing->num_groups, config.IntOr("n_group", 1, 1, kMaxGroups));
  PINGTI_ASSIGN_OR_RETURN(routing->groups_per_token,
                          config.IntOr("topk_group", 1, 1, routing->num_groups));
  return CheckGroups("n_group", "topk_group", *routing);
}

// All of `experts` but how the router scores.
absl::Status ReadExperts(const JsonFields& config, int64_t num_layers, ExpertsOptions* experts) {
  PINGTI_RETURN_IF_ERROR(ReadHfExperts(config, num_layers, experts));
  PINGTI_ASSIGN_OR_RETURN(experts->inner, config.RequiredInt("moe_intermediate_size", 1, kMaxSize));
  PINGTI_ASSIGN_OR_RETURN(const int64_t shared, config.IntOr("n_shared_experts", 0, 0, 1024));
  experts->shared_inner = shared * experts->inner;
  PINGTI_ASSIGN_OR_RETURN(const double scale,
                          config.NumberOr("routed_scaling_factor", 1.0, 0.0, 1e6));
  experts->routing.scale = static_cast<float>(scale);
  PINGTI_ASSIGN_OR_RETURN(const int64_t dense,
                          config.IntOr("first_k_dense_replace", 0, 0, num_layers));
  PINGTI_ASSIGN_OR_RETURN(const int64_t step, config.IntOr("moe_layer_freq", 1, 1, kMaxSize));
  for (int64_t i = 0; i < num_layers; ++i) {
    experts->layers[static_cast<size_t>(i)] = i >= dense && i % step == 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<DecoderSpec> MakeDecoder(const JsonFields& config, DenseOptions options,
                                        const ExpertsOptions& experts, const ExpertsNames& names) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    PINGTI_ASSIGN_OR_RETURN(const bool bias, config.BoolOr(key, false));
    if (bias) return absl::UnimplementedError(Concat("'", key, "' true; expected false"));
  }
  PINGTI_ASSIGN_OR_RETURN(const bool interleaved, config.BoolOr("rope_interleave", true));
  if (!interleaved) return absl::UnimplementedError("'rope_interleave' false; expected true");
  PINGTI_ASSIGN_OR_RETURN(LatentAttentionSpec attention, ReadAttention(config, options));
  const std::string_view layers = HfDenseNames().layers;
  DecoderSpec spec = MakeDenseDecoder(options, HfDenseNames());
  AddLatentAttention(kHfNames, layers, kLatentNormEps, std::move(attention), &spec);
  AddExperts(experts, names, layers, &spec);
  return spec;
}

absl::StatusOr<DecoderSpec> V2FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "deepseek2";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "scoring_func", "softmax"));
  // transformers ignores it; DeepSeek's own code then leaves out routed_scaling_factor.
  PINGTI_ASSIGN_OR_RETURN(const bool normalizes, config.BoolOr("norm_topk_prob", false));
  if (normalizes) return absl::UnimplementedError("'norm_topk_prob' true; expected false");
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadExperts(config, options.num_layers, &experts));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> method, config.String("topk_method"));
  const std::string choice = method.value_or("greedy");
  if (choice == "group_limited_greedy") {
    PINGTI_RETURN_IF_ERROR(ReadGroups(config, &experts.routing));
  } else if (choice != "greedy") {
    return absl::UnimplementedError(
        Concat("'topk_method' '", choice, "'; expected greedy or group_limited_greedy"));
  }
  return MakeDecoder(config, std::move(options), experts, kV2Names);
}

// The last layer and what stands beside it becomes the first module. As in vLLM, it reads what the
// model's last norm made, and in a chain what its own layer made.
void TakeModules(int64_t num_modules, DecoderSpec* spec) {
  MtpSpec mtp;
  mtp.num_modules = num_modules;
  mtp.layer = std::move(spec->layers.back());
  spec->layers.pop_back();
  const auto prefix = [&](int64_t module) {
    return Concat(HfDenseNames().layers, spec->num_layers() + module, ".");
  };
  const auto norm = [&](std::string_view name) {
    return NormSpec{Concat(prefix(0), name), spec->final_norm.eps};
  };
  mtp.embedding_norm = norm("enorm");
  mtp.state_norm = norm("hnorm");
  mtp.projection = Concat(prefix(0), "eh_proj");
  mtp.embedding_first = true;
  mtp.final_norm = norm("shared_head.norm");
  mtp.reads_normed = true;
  for (int64_t i = 0; i < num_modules; ++i) spec->unread_prefixes.push_back(prefix(i));
  spec->mtp = std::move(mtp);
}

absl::StatusOr<DecoderSpec> V3FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "deepseek3";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "scoring_func", "sigmoid"));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "topk_method", "noaux_tc"));
  PINGTI_ASSIGN_OR_RETURN(const int64_t num_modules,
                          config.IntOr("num_nextn_predict_layers", 0, 0, 1024));
  // Modules that foretell further tokens stand behind the layers; the first is read as one more.
  if (num_modules > 0) ++options.num_layers;
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadExperts(config, options.num_layers, &experts));
  experts.routing.score = RouterScore::kSigmoid;
  experts.routing.group_best = 2;
  PINGTI_ASSIGN_OR_RETURN(experts.routing.normalize, config.BoolOr("norm_topk_prob", true));
  PINGTI_RETURN_IF_ERROR(ReadGroups(config, &experts.routing));
  PINGTI_ASSIGN_OR_RETURN(DecoderSpec spec,
                          MakeDecoder(config, std::move(options), experts, V3Names()));
  if (num_modules > 0) TakeModules(num_modules, &spec);
  return spec;
}

// llama.cpp's file of all of them; what V3 has shows in its keys and tensors. Source of names and
// defaults: its gguf-py constants, and how it computes from them.
constexpr char kGgufArchitecture[] = "deepseek2";

absl::StatusOr<LatentAttentionSpec> ReadGgufAttention(const GgufFile& file, const GgufKeys& keys,
                                                      const DenseOptions& options) {
  LatentAttentionSpec attention;
  attention.num_heads = options.num_heads;
  attention.rope_dim = options.head_dim;
  // Files from before heads' matrices were split have no keys but those.
  PINGTI_ASSIGN_OR_RETURN(const int64_t plain_key,
                          keys.IntOr("attention.key_length", 0, 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(const int64_t plain_value,
                          keys.IntOr("attention.value_length", 0, 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(const int64_t key,
                          keys.IntOr("attention.key_length_mla", plain_key, 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(attention.value_dim,
                          keys.IntOr("attention.value_length_mla", plain_value, 1, 1 << 16));
  PINGTI_ASSIGN_OR_RETURN(attention.latent_dim,
                          keys.RequiredInt("attention.kv_lora_rank", 1, kMaxSize));
  attention.nope_dim = key - attention.rope_dim;
  if (attention.nope_dim < 1 || attention.value_dim < 1 || attention.rope_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("heads of ", key, " dimensions, of which ", attention.rope_dim,
               " rotate, and values of ", attention.value_dim,
               "; expected more dimensions than rotate, an even number of those, and values"));
  }
  if (file.FindTensor("blk.0.attn_q_a.weight") != nullptr) {
    PINGTI_ASSIGN_OR_RETURN(attention.query_latent_dim,
                            keys.RequiredInt("attention.q_lora_rank", 1, kMaxSize));
  }
  attention.scale = ScoreScale(options.rope, attention.query_dim());
  return attention;
}

// The file says a tenth of mscale_all_dim, and llama.cpp leaves cosines and sines as they are.
absl::Status ReadGgufYarn(const GgufKeys& keys, RopeConfig* rope) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> log_multiplier,
                          keys.Float("rope.scaling.yarn_log_multiplier", 0.0, 1e3));
  if (rope->attention_factor.has_value()) {
    return absl::UnimplementedError("rope.scaling.attn_factor; expected none");
  }
  rope->mscale_all_dim = 10.0 * log_multiplier.value_or(0.0);
  rope->attention_factor = 1.0;
  return absl::OkStatus();
}

absl::Status ReadGgufRouting(const GgufFile& file, const GgufKeys& keys, ExpertRouting* routing) {
  constexpr int64_t kSoftmax = 1;
  constexpr int64_t kSigmoid = 2;
  PINGTI_ASSIGN_OR_RETURN(const int64_t score, keys.IntOr("expert_gating_func", kSoftmax, 0, 255));
  if (score > kSigmoid) {
    return absl::UnimplementedError(
        Concat("expert_gating_func ", score, "; expected 1 (softmax) or 2 (sigmoid)"));
  }
  if (score == kSigmoid) {
    routing->score = RouterScore::kSigmoid;
    routing->group_best = 2;
  }
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> normalizes,
                          file.Bool(Concat(kGgufArchitecture, ".expert_weights_norm")));
  routing->normalize = normalizes.value_or(false);
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> scale,
                          keys.Float("expert_weights_scale", 0.0, 1e6));
  routing->scale = static_cast<float>(scale.value_or(1.0));
  PINGTI_ASSIGN_OR_RETURN(routing->num_groups, keys.IntOr("expert_group_count", 1, 1, kMaxGroups));
  PINGTI_ASSIGN_OR_RETURN(routing->groups_per_token,
                          keys.IntOr("expert_group_used_count", 1, 1, routing->num_groups));
  return CheckGroups("expert_group_count", "expert_group_used_count", *routing);
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  const GgufKeys keys(file, Concat(kGgufArchitecture, "."));
  PINGTI_ASSIGN_OR_RETURN(
      DenseOptions options,
      ReadGgufDense(file, kGgufArchitecture, {.has_experts = true, .has_latent_attention = true}));
  PINGTI_ASSIGN_OR_RETURN(const int64_t predictors, keys.IntOr("nextn_predict_layers", 0, 0, 1024));
  if (predictors != 0) {
    return absl::UnimplementedError(Concat("nextn_predict_layers ", predictors, "; expected 0"));
  }
  if (options.rope.scaling == RopeScaling::kYarn) {
    PINGTI_RETURN_IF_ERROR(ReadGgufYarn(keys, &options.rope));
  }
  PINGTI_ASSIGN_OR_RETURN(LatentAttentionSpec attention, ReadGgufAttention(file, keys, options));
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadGgufExperts(file, kGgufArchitecture, options.num_layers, &experts));
  PINGTI_RETURN_IF_ERROR(ReadGgufRouting(file, keys, &experts.routing));
  LatentNames names = kGgufNames;
  if (file.FindTensor("blk.0.attn_kv_b.weight") != nullptr) names.kv_b = "attn_kv_b";
  ExpertsNames experts_names = GgufExpertsNames();
  const bool has_bias = std::any_of(
      file.tensors().begin(), file.tensors().end(),
      [](const TensorView& tensor) { return tensor.name.ends_with(".exp_probs_b.bias"); });
  if (has_bias) experts_names.correction_bias = "exp_probs_b.bias";
  const std::string_view layers = GgufDenseNames().layers;
  DecoderSpec spec = MakeGgufDenseDecoder(options, GgufDenseNames());
  AddLatentAttention(names, layers, options.norm_eps, std::move(attention), &spec);
  AddExperts(experts, experts_names, layers, &spec);
  return spec;
}

}  // namespace

Family DeepseekV2Family() {
  return {.hf_class = "DeepseekV2ForCausalLM",
          .gguf_architecture = kGgufArchitecture,
          .from_hf = V2FromHf,
          .from_gguf = FromGguf};
}

Family DeepseekV3Family() { return {.hf_class = "DeepseekV3ForCausalLM", .from_hf = V3FromHf}; }

}  // namespace pingti::worker
