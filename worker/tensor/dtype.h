// Element types of weights and activations, with the block types of GGUF files. Plain values.
//
// Block types (source: the GGUF/ggml format description) store a row as runs of BlockElements()
// values that share scales; a row's length is a multiple of that. Next: tensor_view.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace pingti::worker {

enum class DType {
  kF32,
  kF16,
  kBf16,
  kF8E4M3,  // sign, 4 bits of exponent, 3 of mantissa; no infinities
  kI8,
  kI32,
  kI64,
  kU8,
  kQ8_0,  // 32 x int8, one f16 scale
  kQ4_0,  // 32 x 4 bits, value = scale * (q - 8)
  kQ4_1,  // 32 x 4 bits, value = scale * q + min
  kQ4K,   // 256 x 4 bits, 8 sub-blocks with 6-bit scales and mins
  kQ5K,   // 256 x 5 bits, as kQ4K
  kQ6K,   // 256 x 6 bits, 16 sub-blocks with 8-bit scales
  kQ5_0,  // 32 x 5 bits, value = scale * (q - 16)
  kQ5_1,  // 32 x 5 bits, value = scale * q + min
  kQ2K,   // 256 x 2 bits, 16 sub-blocks with 4-bit scales and mins
  kQ3K,   // 256 x 3 bits, 16 sub-blocks with 6-bit scales
  kIq1S,  // 256 values from code books, sub-blocks with scales; so the others of this name
  kIq1M,
  kIq2Xxs,
  kIq2Xs,
  kIq2S,
  kIq3Xxs,
  kIq3S,
  kIq4Nl,  // 32 x 4 bits, value = scale * list[q]
  kIq4Xs,  // 256 x 4 bits, as kIq4Nl, 8 sub-blocks with 6-bit scales
  kTq1_0,  // 256 x -1, 0 or 1, one f16 scale
  kTq2_0,  // the same in 2 bits each
  kMxfp4,  // 32 x 4-bit floats, the scale a power of two
  kNf4,    // 64 x 4 bits, value = f32 scale * list[q]: bitsandbytes', brought into one array
};

// Name as files and people spell it: "F32", "Q4_K".
std::string_view DTypeName(DType dtype);

// Values that share one block; 1 for plain types.
int64_t BlockElements(DType dtype);

// Bytes of one block; the element size for plain types.
int64_t BlockBytes(DType dtype);

inline bool IsBlockType(DType dtype) { return BlockElements(dtype) > 1; }

}  // namespace pingti::worker
