#include "worker/model/families/llama.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"

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
  PINGTI_ASSIGN_OR_RETURN(DenseOptions options, ReadGgufDense(file, "llama"));
  // llama.cpp's converter reorders the rows of q and k of this architecture, so that RoPE rotates
  // adjacent pairs; pingti rotates halves everywhere and undoes it while loading.
  options.interleaved_qk = true;
  return MakeGgufDenseDecoder(options, GgufDenseNames());
}

}  // namespace

Family LlamaFamily() {
  return {.hf_class = "LlamaForCausalLM",
          .gguf_architecture = "llama",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
