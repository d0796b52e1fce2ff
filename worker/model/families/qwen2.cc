#include "worker/model/families/qwen2.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  PINGTI_ASSIGN_OR_RETURN(const DenseOptions options, ReadHfQwen2(config, "qwen2"));
  return MakeDenseDecoder(options, HfDenseNames());
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(const DenseOptions options, ReadGgufDense(file, "qwen2"));
  return MakeGgufDenseDecoder(options, GgufDenseNames());
}

}  // namespace

absl::StatusOr<DenseOptions> ReadHfQwen2(const JsonFields& config, std::string_view architecture) {
  DenseOptions options;
  options.architecture = std::string(architecture);
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  options.qkv_bias = true;  // always, and config.json says so nowhere
  PINGTI_ASSIGN_OR_RETURN(options.mlp_bias, config.BoolOr("mlp_bias", false));
  PINGTI_RETURN_IF_ERROR(ReadQwenWindows(config, &options));
  return options;
}

absl::Status ReadQwenWindows(const JsonFields& config, DenseOptions* options) {
  PINGTI_ASSIGN_OR_RETURN(const bool windows, config.BoolOr("use_sliding_window", false));
  if (!windows) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const int64_t first,
                          config.IntOr("max_window_layers", options->num_layers, 0, kMaxSize));
  return ReadHfWindows(config, first, options);
}

Family Qwen2Family() {
  return {.hf_class = "Qwen2ForCausalLM",
          .gguf_architecture = "qwen2",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
