// Experts that a checkpoint stacks in one tensor, as modules of their own: so they are written, for
// readers of quantized checkpoints know no other form. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "worker/spec/decoder_spec.h"
#include "worker/tensor/tensor_view.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

// The checkpoint's spec, in which stacked experts are modules: of "x.experts.gate_up_proj" and
// "x.experts.down_proj" those of expert e are "x.experts.e.gate_proj", "x.experts.e.up_proj" and
// "x.experts.e.down_proj".
worker::DecoderSpec WithExpertModules(const worker::Checkpoint& checkpoint);

// The tensors of layer `layer` that stack what is a module in `spec`, which WithExpertModules made.
std::vector<const worker::TensorView*> ExpertStacks(const worker::Checkpoint& checkpoint,
                                                    const worker::DecoderSpec& spec, int64_t layer);
// Calls `take` with each weight and bias of those modules, in order, under its own name. Holds one
// at a time, which `take` must not keep.
void ForEachOfStacks(const worker::Checkpoint& checkpoint, const worker::DecoderSpec& spec,
                     int64_t layer, const std::function<void(const worker::TensorView&)>& take);

}  // namespace pingti::tools
