#include "worker/model/families/qwen3_moe.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/model/families/qwen2_moe.h"

namespace pingti::worker {
namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "qwen3moe";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", false));
  options.out_bias = options.qkv_bias;
  options.qk_norm = true;
  PINGTI_ASSIGN_OR_RETURN(const bool windows, config.BoolOr("use_sliding_window", false));
  // Every layer has the window, where there is one.
  if (windows) PINGTI_RETURN_IF_ERROR(ReadHfWindows(config, /*first_layer=*/0, &options));
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadQwenExperts(config, options.num_layers, &experts));
  DecoderSpec spec = MakeDenseDecoder(options, HfDenseNames());
  AddExperts(experts, kQwenExpertsNames, HfDenseNames().layers, &spec);
  return spec;
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(DenseOptions options,
                          ReadGgufDense(file, "qwen3moe", {.has_experts = true}));
  options.qk_norm = true;
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadGgufExperts(file, "qwen3moe", options.num_layers, &experts));
  experts.routing.normalize = true;  // as llama.cpp does, whatever the original's configuration
  DecoderSpec spec = MakeGgufDenseDecoder(options, GgufDenseNames());
  AddExperts(experts, GgufExpertsNames(), GgufDenseNames().layers, &spec);
  return spec;
}

}  // namespace

Family Qwen3MoeFamily() {
  return {.hf_class = "Qwen3MoeForCausalLM",
          .gguf_architecture = "qwen3moe",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
