#include "worker/model/families/mimo.h"

#include <string>
#include <string_view>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/hf_options.h"
#include "worker/model/families/qwen2.h"

namespace pingti::worker {
namespace {

constexpr std::string_view kModules = "model.mtp_layers.";
constexpr std::string_view kFirstModule = "model.mtp_layers.0.";

// The first module's layer is one of a decoder of such layers.
MtpSpec MakeModule(DenseOptions options, int64_t num_modules) {
  options.num_layers = 1;
  if (!options.window.empty()) options.window = {options.window.back()};
  DenseNames names = HfDenseNames();
  names.layers = kModules;
  MtpSpec mtp;
  mtp.num_modules = num_modules;
  const auto norm = [&](std::string_view name) {
    return NormSpec{Concat(kFirstModule, name), options.norm_eps};
  };
  mtp.state_norm = norm("hidden_layernorm");
  mtp.embedding_norm = norm("token_layernorm");
  mtp.projection = Concat(kFirstModule, "input_proj");
  mtp.layer = std::move(MakeDenseDecoder(options, names).layers.front());
  mtp.final_norm = norm("final_layernorm");
  mtp.chains_normed = true;
  return mtp;
}

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  PINGTI_ASSIGN_OR_RETURN(const DenseOptions options, ReadHfQwen2(config, "mimo"));
  DecoderSpec spec = MakeDenseDecoder(options, HfDenseNames());
  PINGTI_ASSIGN_OR_RETURN(const int64_t num_modules,
                          config.IntOr("num_nextn_predict_layers", 0, 0, kMaxSize));
  if (num_modules == 0) return spec;
  spec.mtp = MakeModule(options, num_modules);
  spec.unread_prefixes = {std::string(kModules)};
  return spec;
}

}  // namespace

Family MimoFamily() { return {.hf_class = "MiMoForCausalLM", .from_hf = FromHf}; }

}  // namespace pingti::worker
