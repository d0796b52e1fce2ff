// How a block declares its weights: a list of what each is (worker/spec/weight_spec.h) and where
// the block keeps it once it is prepared. A loader fills the places; everyone else reads the specs.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "worker/backend/backend.h"
#include "worker/spec/weight_spec.h"

namespace pingti::worker {

// Points into the block that declared it, which must stay where it is until the place is filled.
// The alternative says what the weight is prepared as: a vector is an f32 DeviceBuffer.
using WeightPlace = std::variant<std::unique_ptr<LinearWeight>*, std::unique_ptr<EmbeddingTable>*,
                                 std::unique_ptr<DeviceBuffer>*>;

struct DeclaredWeight {
  WeightSpec spec;
  WeightPlace place;
  // Where the block looks for the adapters of the product with this weight; null: it takes none.
  const LoraWeights** lora = nullptr;
};
using Declarations = std::vector<DeclaredWeight>;

}  // namespace pingti::worker
