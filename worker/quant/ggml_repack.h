// Blocks of GGUF types as blocks of 32 of a few types that kernels multiply. Pure functions;
// thread-safe. Next: ggml_blocks.h for what the blocks mean.
#pragma once

#include <cstdint>
#include <optional>

#include "worker/tensor/dtype.h"

namespace pingti::worker {

// The type of 32 that holds a type's values with least loss; nullopt for Q8_0, Q4_0, Q4_1 and
// IQ4_NL, which are multiplied as they are, and for types without blocks.
//   Q4_K           Q4_1: its sub-blocks are of that form but for the rounding of their scale and
//                  minimum to f16.
//   IQ4_XS         IQ4_NL: the same, but for the rounding of the scale.
//   TQ1_0, TQ2_0   Q4_0, exactly.
//   all others     Q8_0. Exact where the values of 32 are multiples of at most 127 of one step that
//                  f16 holds: Q5_0 and Q3_K always but for a value in 4096 of Q3_K, MXFP4 unless
//                  its scale is beyond f16. With the step rounded to f16: IQ1_S, IQ2_XXS, IQ3_XXS,
//                  IQ3_S. Else the values are rounded to 127 steps of the largest of 32: Q5_1,
//                  Q5_K, Q6_K, Q2_K, IQ1_M, IQ2_XS, IQ2_S, whose own steps are wider.
std::optional<DType> TypeOf32(DType type);

// One block of a type as BlockElements(type) / 32 consecutive blocks of TypeOf32(type). `out` has
// room for them. REQUIRES: TypeOf32(type) has a value.
void RepackBlock(DType type, const uint8_t* block, uint8_t* out);

// Whether a type's values are, in each 32, multiples of at most 127 of one step, so that Q8_0 holds
// them but for the rounding of the step; of Q3_K all but the least value of the largest scale.
bool FitsQ8_0(DType type);

// One block of a type as BlockElements(type) / 32 consecutive blocks of Q8_0. REQUIRES:
// IsBlockType(type).
void RepackAsQ8_0(DType type, const uint8_t* block, uint8_t* out);

}  // namespace pingti::worker
