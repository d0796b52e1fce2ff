// Between adapters, whose matrices are those of modules of a checkpoint, and a model's products,
// which stack modules or hold a rank's share of them. Pure functions.
//
// Of a product whose rows are shared out, a rank takes its rows of B; of one whose columns are, its
// columns of A: x A^T is then a part of a sum, and so is what B makes of it, which is added up with
// the product itself.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/adapters/adapter.h"
#include "worker/backend/lora.h"
#include "worker/spec/weight_spec.h"

namespace pingti::worker {

// Room that a model has for adapters.
struct AdapterLimits {
  int32_t max_adapters = 0;  // in its slots at once; 0: it takes none
  int64_t max_rank = 0;
};

// Whether every module of the adapter is one of the weights' that can be adapted, of the same
// shape, and its rank is not too large. `declared`: of the whole model.
// Errors: InvalidArgument naming the module and what was expected.
absl::Status CheckAdapter(const Adapter& adapter, const std::vector<WeightSpec>& declared,
                          const AdapterLimits& limits);

// REQUIRES: TakesAdapters(weight).
LoraShape LoraShapeOf(const WeightSpec& weight, const AdapterLimits& limits);
// What the adapter adds to the product. REQUIRES: CheckAdapter(adapter, ...).ok().
LoraMatrices LoraMatricesOf(const WeightSpec& weight, const Adapter& adapter);

// Whether adapters can be put beside a weight: of the products inside layers, the embedding and
// the output projection.
bool TakesAdapters(const WeightSpec& weight);

}  // namespace pingti::worker
