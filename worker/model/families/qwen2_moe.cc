#include "worker/model/families/qwen2_moe.h"

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {

const ExpertsNames kQwenExpertsNames = {.router = "mlp.gate",
                                        .correction_bias = "",
                                        .experts = "mlp.experts.",
                                        .gate = "gate_proj",
                                        .up = "up_proj",
                                        .down = "down_proj",
                                        .shared_router = "mlp.shared_expert_gate",
                                        .shared_gate = "mlp.shared_expert.gate_proj",
                                        .shared_up = "mlp.shared_expert.up_proj",
                                        .shared_down = "mlp.shared_expert.down_proj"};

absl::Status ReadQwenExperts(const JsonFields& config, int64_t num_layers,
                             ExpertsOptions* options) {
  PINGTI_RETURN_IF_ERROR(ReadHfExperts(config, num_layers, options));
  PINGTI_RETURN_IF_ERROR(ReadHfSparseLayers(config, options));
  PINGTI_ASSIGN_OR_RETURN(options->routing.normalize, config.BoolOr("norm_topk_prob", false));
  PINGTI_ASSIGN_OR_RETURN(options->inner, config.RequiredInt("moe_intermediate_size", 1, kMaxSize));
  return absl::OkStatus();
}

namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "qwen2moe";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("qkv_bias", true));
  // Versions of transformers differ in which layers would see a window.
  PINGTI_ASSIGN_OR_RETURN(const bool windows, config.BoolOr("use_sliding_window", false));
  if (windows) return absl::UnimplementedError("'use_sliding_window' true; expected false");
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadQwenExperts(config, options.num_layers, &experts));
  PINGTI_ASSIGN_OR_RETURN(experts.shared_inner,
                          config.RequiredInt("shared_expert_intermediate_size", 1, kMaxSize));
  experts.shared_gate = true;
  DecoderSpec spec = MakeDenseDecoder(options, HfDenseNames());
  AddExperts(experts, kQwenExpertsNames, HfDenseNames().layers, &spec);
  return spec;
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(const DenseOptions options,
                          ReadGgufDense(file, "qwen2moe", {.has_experts = true}));
  ExpertsOptions experts;  // whose weights do not sum to 1
  PINGTI_RETURN_IF_ERROR(ReadGgufExperts(file, "qwen2moe", options.num_layers, &experts));
  experts.shared_gate = true;
  DecoderSpec spec = MakeGgufDenseDecoder(options, GgufDenseNames());
  AddExperts(experts, GgufExpertsNames(), GgufDenseNames().layers, &spec);
  return spec;
}

}  // namespace

Family Qwen2MoeFamily() {
  return {.hf_class = "Qwen2MoeForCausalLM",
          .gguf_architecture = "qwen2moe",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
