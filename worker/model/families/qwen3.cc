#include "worker/model/families/qwen3.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"
#include "worker/model/families/qwen2.h"

namespace pingti::worker {
namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "qwen3";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", false));
  options.out_bias = options.qkv_bias;
  PINGTI_ASSIGN_OR_RETURN(options.mlp_bias, config.BoolOr("mlp_bias", false));
  options.qk_norm = true;
  PINGTI_RETURN_IF_ERROR(ReadQwenWindows(config, &options));
  return MakeDenseDecoder(options, HfDenseNames());
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(DenseOptions options, ReadGgufDense(file, "qwen3"));
  options.qk_norm = true;
  return MakeGgufDenseDecoder(options, GgufDenseNames());
}

}  // namespace

Family Qwen3Family() {
  return {.hf_class = "Qwen3ForCausalLM",
          .gguf_architecture = "qwen3",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
