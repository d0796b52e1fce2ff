#include "worker/model/families/phi3.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/gguf_options.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

DenseNames Fused(DenseNames names, std::string_view qkv, std::string_view gate_up) {
  names.qkv = qkv;
  names.gate_up = gate_up;
  return names;
}

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "phi3";
  options.may_rotate_partly = true;
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  // Every layer has the window, where there is one.
  PINGTI_RETURN_IF_ERROR(ReadHfWindows(config, /*first_layer=*/0, &options));
  return MakeDenseDecoder(options, Fused(HfDenseNames(), "self_attn.qkv_proj", "mlp.gate_up_proj"));
}

absl::StatusOr<DecoderSpec> FromGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(const DenseOptions options,
                          ReadGgufDense(file, "phi3", {.rotates_partly = true}));
  // llama.cpp's converter keeps the fused gate and up under the name of up.
  return MakeGgufDenseDecoder(options, Fused(GgufDenseNames(), "attn_qkv", "ffn_up"));
}

}  // namespace

Family Phi3Family() {
  return {.hf_class = "Phi3ForCausalLM",
          .gguf_architecture = "phi3",
          .from_hf = FromHf,
          .from_gguf = FromGguf};
}

}  // namespace pingti::worker
