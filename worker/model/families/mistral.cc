#include "worker/model/families/mistral.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "mistral";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_ASSIGN_OR_RETURN(options.qkv_bias, config.BoolOr("attention_bias", false));
  options.out_bias = options.qkv_bias;
  PINGTI_ASSIGN_OR_RETURN(options.mlp_bias, config.BoolOr("mlp_bias", false));
  PINGTI_ASSIGN_OR_RETURN(const bool windows, config.BoolOr("use_sliding_window", true));
  PINGTI_ASSIGN_OR_RETURN(const int64_t first, config.IntOr("max_window_layers", 0, 0, kMaxSize));
  if (windows) PINGTI_RETURN_IF_ERROR(ReadHfWindows(config, first, &options));
  return MakeDenseDecoder(options, HfDenseNames());
}

}  // namespace

Family MistralFamily() { return {.hf_class = "MistralForCausalLM", .from_hf = FromHf}; }

}  // namespace pingti::worker
