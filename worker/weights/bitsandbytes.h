// Matrices that bitsandbytes saved (transformers' load_in_8bit, load_in_4bit), as tensors that the
// rest of pingti reads. Internal to worker/weights.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Rewrites the tensors in place:
//   8 bits: "x.weight" I8 [n, k] beside "x.SCB" F32 [n], largest values of rows, stays and gets
//     "x.weight_scale" F32 [n, 1] = SCB / 127; "x.weight_format" goes.
//   nf4: "x.weight" U8 of nibbles beside "x.weight.absmax", "x.weight.quant_map", where it is
//     quantized twice "x.weight.nested_absmax" and "x.weight.nested_quant_map", and
//     "x.weight.quant_state.bitsandbytes__nf4" (JSON) becomes one tensor "x.weight" NF4 [n, k], in
//     `memory`.
// Sources: bitsandbytes' Int8Params and QuantState. Returns whether there are matrices of 8 bits.
// Errors: InvalidArgument or Unimplemented naming the tensor and what was expected.
absl::StatusOr<bool> JoinBitsAndBytes(std::vector<TensorView>* tensors,
                                      std::vector<std::unique_ptr<std::byte[]>>* memory);

}  // namespace pingti::worker
