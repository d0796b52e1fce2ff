#include "worker/layers/norm.h"

#include <utility>

namespace pingti::worker {

Norm::Norm(NormSpec spec, int64_t size) : spec_(std::move(spec)), size_(size) {}

void Norm::DeclareWeights(Declarations* out) {
  WeightSpec weight;
  weight.role = WeightRole::kNorm;
  weight.parts = {WholeModule(spec_.module, size_)};
  WeightSpec bias = weight;
  out->push_back({std::move(weight), &weight_});
  if (!spec_.bias) return;
  bias.suffix = ".bias";
  out->push_back({std::move(bias), &bias_});
}

absl::Status Norm::Apply(Backend& backend, MatrixView x, const Operand& out) const {
  if (spec_.kind == NormKind::kLayer) {
    return backend.LayerNorm(x, *weight_, bias_.get(), eps(), out);
  }
  return backend.RmsNorm(x, *weight_, eps(), out);
}

absl::Status Norm::AddAndApply(Communicator& comm, MatrixView delta, MatrixView residual,
                               const Operand& out) const {
  if (spec_.kind == NormKind::kLayer) {
    return comm.AllReduceAddLayerNorm(delta, residual, *weight_, bias_.get(), eps(), out);
  }
  return comm.AllReduceAddRmsNorm(delta, residual, *weight_, eps(), out);
}

}  // namespace pingti::worker
