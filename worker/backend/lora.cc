#include "worker/backend/lora.h"

#include <algorithm>

namespace pingti::worker {

int64_t LoraShape::out_features() const {
  int64_t columns = 0;
  for (const Part& part : parts) columns += part.columns;
  return columns;
}

int64_t LoraShape::num_values() const {
  return num_slots * experts * max_rank * (num_modules * in_features + out_features());
}

bool LoraMatrices::empty() const {
  return std::all_of(ranks.begin(), ranks.end(), [](int64_t rank) { return rank == 0; });
}

}  // namespace pingti::worker
