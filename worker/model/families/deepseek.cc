#include "worker/model/families/deepseek.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/hf_options.h"

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

void NameAttention(const std::string& layer, LatentAttentionSpec* attention) {
  const auto module = [&layer](std::string_view name) { return Concat(layer, "self_attn.", name); };
  const int64_t query_rows = attention->num_heads * attention->query_dim();
  if (attention->query_latent_dim == 0) {
    attention->in = {WholeModule(module("q_proj"), query_rows)};
  } else {
    attention->in = {WholeModule(module("q_a_proj"), attention->query_latent_dim)};
    attention->query_norm = NormSpec{module("q_a_layernorm"), kLatentNormEps};
    attention->query = {WholeModule(module("q_b_proj"), query_rows)};
  }
  attention->in.push_back(
      WholeModule(module("kv_a_proj_with_mqa"), attention->latent_dim + attention->rope_dim));
  attention->latent_norm = {module("kv_a_layernorm"), kLatentNormEps};
  // A head's rows of kv_b_proj are its key's, then its value's.
  const std::vector<RowBlock> of_heads = GroupedModule(module("kv_b_proj"), attention->num_heads,
                                                       {attention->nope_dim, attention->value_dim});
  attention->keys = {of_heads[0]};
  attention->keys_transposed = true;
  attention->values = {of_heads[1]};
  attention->out = module("o_proj");
}

absl::Status ReadGroups(const JsonFields& config, ExpertRouting* routing) {
  PINGTI_ASSIGN_OR_RETURN(routing->num_groups, config.IntOr("n_group", 1, 1, kMaxGroups));
  PINGTI_ASSIGN_OR_RETURN(routing->groups_per_token,
                          config.IntOr("topk_group", 1, 1, routing->num_groups));
  const int64_t experts = routing->num_experts;
  if (experts % routing->num_groups != 0) {
    return absl::InvalidArgumentError(Concat("'n_group' ", routing->num_groups,
                                             ": expected a divisor of 'n_routed_experts', ",
                                             experts));
  }
  const int64_t group = experts / routing->num_groups;
  const int64_t choice = group * routing->groups_per_token;
  if (routing->num_groups > 1 &&
      (group < routing->group_best || choice < routing->experts_per_token)) {
    return absl::InvalidArgumentError(
        Concat("'n_group' ", routing->num_groups, " and 'topk_group' ", routing->groups_per_token,
               " leave ", choice, " experts in groups of ", group,
               " to choose from; expected at least 'num_experts_per_tok', ",
               routing->experts_per_token, ", in groups of at least ", routing->group_best));
  }
  return absl::OkStatus();
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
  for (int64_t i = 0; i < spec.num_layers(); ++i) {
    LayerSpec& layer = spec.layers[static_cast<size_t>(i)];
    NameAttention(Concat(layers, i, "."), &attention);
    layer.attention = {};
    layer.latent_attention = attention;
  }
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

absl::StatusOr<DecoderSpec> V3FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "deepseek3";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "scoring_func", "sigmoid"));
  PINGTI_RETURN_IF_ERROR(ExpectHfString(config, "topk_method", "noaux_tc"));
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadExperts(config, options.num_layers, &experts));
  experts.routing.score = RouterScore::kSigmoid;
  experts.routing.group_best = 2;
  PINGTI_ASSIGN_OR_RETURN(experts.routing.normalize, config.BoolOr("norm_topk_prob", true));
  PINGTI_RETURN_IF_ERROR(ReadGroups(config, &experts.routing));
  const int64_t num_layers = options.num_layers;
  PINGTI_ASSIGN_OR_RETURN(DecoderSpec spec,
                          MakeDecoder(config, std::move(options), experts, V3Names()));
  // Modules that predict further tokens stand behind the layers.
  PINGTI_ASSIGN_OR_RETURN(const int64_t predictors,
                          config.IntOr("num_nextn_predict_layers", 0, 0, 1024));
  for (int64_t i = 0; i < predictors; ++i) {
    spec.unread_prefixes.push_back(Concat(HfDenseNames().layers, num_layers + i, "."));
  }
  return spec;
}

}  // namespace

Family DeepseekV2Family() { return {.hf_class = "DeepseekV2ForCausalLM", .from_hf = V2FromHf}; }

Family DeepseekV3Family() { return {.hf_class = "DeepseekV3ForCausalLM", .from_hf = V3FromHf}; }

}  // namespace pingti::worker
