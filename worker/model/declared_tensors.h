// Finds the tensors of a checkpoint that a declared weight consists of and checks that they mean
// what the declaration says. Part of load_model.h; `pingti quantize` checks its input with it too.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/packed_module.h"
#include "worker/spec/decoder_spec.h"
#include "worker/spec/weight_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// Tensors of one module. Either `values` or `packed` is set.
struct ModuleTensors {
  // [module_rows, cols], or [module_rows] of a vector; or a stack of experts as
  // worker/quant/stacked_rows.h has it: [experts, rows, groups, 16] beside mxfp4_scales, or
  // [experts, cols, rows].
  const TensorView* values = nullptr;
  const TensorView* mxfp4_scales = nullptr;
  const TensorView* row_scale = nullptr;     // [module_rows, 1], beside values in int8
  const TensorView* block_scales = nullptr;  // beside values in F8_E4M3; see Fp8Blocks
  std::optional<PackedModule> packed;
  const TensorView* bias = nullptr;  // [module_rows], or [experts, rows]

  bool transposed() const { return mxfp4_scales == nullptr && values->shape.size() == 3; }

  std::vector<const TensorView*> All() const;
};

// The tensors of a part of `weight`. A packed module may bring a bias that the family lacks:
// quantizers write zeros there.
// Errors: InvalidArgument (missing, another shape) or Unimplemented (type) naming the tensor.
absl::StatusOr<ModuleTensors> FindModuleTensors(const Checkpoint& checkpoint,
                                                const WeightSpec& weight, const RowBlock& part);

// The tensors that a checkpoint of such weights has in bf16, without data.
std::vector<TensorView> TensorsWithoutData(const std::vector<WeightSpec>& weights);

// Whether a checkpoint may hold this tensor beside those of the model's blocks: it repeats one, or
// belongs to a module that the model runs without.
bool IsKnownBesides(const DecoderSpec& spec, std::string_view name);

// That every declared tensor is there as declared and that no other is: a tensor that nothing takes
// is a part of the model that would be left out in silence. Reads no values.
// Errors: as above.
absl::Status CheckTensors(const Checkpoint& checkpoint, const std::vector<WeightSpec>& weights);

}  // namespace pingti::worker
