// Blocks of 256 (the K types) as blocks of 32, for kernels that know only the latter. Pure
// functions; thread-safe. Next: ggml_blocks.h for what the blocks mean.
#pragma once

#include <cstdint>
#include <optional>

#include "worker/tensor/dtype.h"

namespace pingti::worker {

// The type of 32 that holds a K type's values with least loss: Q4_1 for Q4_K, whose sub-blocks are
// of that form but for the rounding of their scale and minimum to f16; Q8_0 for Q5_K and Q6_K,
// whose steps are at least 8 and 4 times as wide. Nullopt for a type that is none of these.
std::optional<DType> TypeOf32(DType k_type);

// One block of a K type as 8 consecutive blocks of TypeOf32(k_type). `out` has room for
// 8 * BlockBytes(that type). REQUIRES: TypeOf32(k_type) has a value.
void RepackKBlock(DType k_type, const uint8_t* block, uint8_t* out);

}  // namespace pingti::worker
