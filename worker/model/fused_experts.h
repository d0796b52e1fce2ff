// Experts that transformers 5 keeps in two tensors of a layer, as it writes them with
// save_original_format=False: "x.experts.gate_up_proj" [experts, 2 * inner, hidden], of each expert
// gate and then up, and "x.experts.down_proj" [experts, hidden, inner]. Pure.
#pragma once

#include <vector>

#include "worker/spec/decoder_spec.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Puts views of each expert's matrices, under the names that `spec` has for them, in place of such
// tensors. One of another shape than the spec's stays as it is. Families that name the stacks
// themselves are left alone: gpt-oss's are transposed.
void SplitFusedExperts(const DecoderSpec& spec, std::vector<TensorView>* tensors);

}  // namespace pingti::worker
