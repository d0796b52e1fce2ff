// A matrix product with a declared weight, and what adapters add to it. Confined to the engine
// thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"

namespace pingti::worker {

struct Projection {
  std::unique_ptr<LinearWeight> weight;
  const LoraWeights* lora = nullptr;  // borrowed; null: the model takes no adapters

  // out = x W^T + bias, and of rows with an adapter that adapter's part. x has a row for each of
  // the step's tokens where there are adapters.
  absl::Status Apply(Backend& backend, const Operand& x, MatrixView out) const {
    return lora == nullptr ? backend.Linear(*weight, x, out)
                           : backend.AdaptedLinear(*weight, *lora, x, out);
  }
  // The same of rows and their experts: see Backend::ExpertLinear.
  absl::Status ApplyToExperts(Backend& backend, const Operand& x, RowOrder order,
                              MatrixView out) const {
    return lora == nullptr ? backend.ExpertLinear(*weight, x, order, out)
                           : backend.AdaptedExpertLinear(*weight, *lora, x, order, out);
  }
};

}  // namespace pingti::worker
