#include "worker/model/families/llama.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/model/families/mixtral.h"
#include "worker/weights/gguf_keys.h"

namespace pingti::worker {
namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "llama";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", false));
  options.out_bias = options.qkv_bias;
  PINGTI_ASSIGN_OR_RETURN(options.mlp_bias, config.BoolOr("mlp_bias", false));
  return MakeDenseDecoder(options, HfDenseNames());
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(DenseOptions options,
                          ReadGgufDense(file, "llama", {.has_experts = true}));
  // llama.cpp's converter reorders the rows of q and k of this architecture, so that RoPE rotates
  // adjacent pairs; pingti rotates halves everywhere and undoes it while loading.
  options.interleaved_qk = true;
  DecoderSpec spec = MakeGgufDenseDecoder(options, GgufDenseNames());
  PINGTI_ASSIGN_OR_RETURN(const int64_t count,
                          GgufKeys(file, "llama.").IntOr("expert_count", 0, 0, kMaxSize));
  if (count == 0) return spec;
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadGgufExperts(file, "llama", options.num_layers, &experts));
  experts.routing.normalize = kMixtralNormalizes;
  AddExperts(experts, GgufExpertsNames(), GgufDenseNames().layers, &spec);
  return spec;
}

}  // namespace

Family LlamaFamily() {
  return {.hf_class = "LlamaForCausalLM",
          .gguf_architecture = "llama",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
