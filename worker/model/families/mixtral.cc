#include "worker/model/families/mixtral.h"

#include "common/base/status_macros.h"
#include "worker/model/families/dense.h"
#include "worker/model/families/experts.h"
#include "worker/model/families/hf_options.h"

namespace pingti::worker {
namespace {

constexpr ExpertsNames kNames = {.router = "block_sparse_moe.gate",
                                 .correction_bias = "",
                                 .experts = "block_sparse_moe.experts.",
                                 .gate = "w1",
                                 .up = "w3",
                                 .down = "w2",
                                 .shared_router = "",
                                 .shared_gate = "",
                                 .shared_up = "",
                                 .shared_down = ""};

absl::StatusOr<DecoderSpec> FromHf(const JsonFields& config) {
  DenseOptions options;
  options.architecture = "mixtral";
  PINGTI_RETURN_IF_ERROR(ReadHfDense(config, &options));
  PINGTI_RETURN_IF_ERROR(ReadHfWindows(config, /*first_layer=*/0, &options));
  ExpertsOptions experts;
  PINGTI_RETURN_IF_ERROR(ReadHfExperts(config, options.num_layers, &experts));
  experts.routing.normalize = kMixtralNormalizes;
  experts.inner = options.inner_size;
  DecoderSpec spec = MakeDenseDecoder(options, HfDenseNames());
  AddExperts(experts, kNames, HfDenseNames().layers, &spec);
  return spec;
}

}  // namespace

Family MixtralFamily() { return {.hf_class = "MixtralForCausalLM", .from_hf = FromHf}; }

}  // namespace pingti::worker
