// Block-quantized rows of GGUF files to float (source: the layouts of ggml's block types, as the
// GGUF format describes them). Pure functions; thread-safe.
#pragma once

#include <cstdint>

#include "worker/tensor/dtype.h"

namespace pingti::worker {

// True for F32, F16, BF16, I8 (as plain integers) and every block type.
bool CanDequantize(DType dtype);

// Converts `count` values (whole blocks) at `source` to float. REQUIRES: CanDequantize(dtype),
// count % BlockElements(dtype) == 0. No alignment is needed of `source`.
void Dequantize(DType dtype, const void* source, int64_t count, float* out);

}  // namespace pingti::worker
