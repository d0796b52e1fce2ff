// One decoder layer of a checkpoint as int8 or int4 tensors under compressed-tensors' names, with
// what SmoothQuant moves folded in. Reads the file row by row: beside the result, one row per
// thread is in memory. Pure functions; thread-safe. Next: layer_runner.h, which says how good the
// result is.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/quantize/weight_scheme.h"
#include "worker/spec/decoder_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

// Matrices that share an input and are one product when they run: quantized or kept together, since
// servers that stack them need one format for the stack. A layer has some of these groups:
// kQueryUp of latent attention whose queries have a latent; kGateUp and kDown of a feed-forward for
// all tokens, alone or beside experts; the last two of all its experts.
enum class LinearGroup { kQkv, kQueryUp, kO, kGateUp, kDown, kExpertsIn, kExpertsOut };
inline constexpr size_t kNumGroups = 7;
template <typename T>
using PerGroup = std::array<T, kNumGroups>;

// "qkv", "q_up", "o", "gate_up", "down", "experts_in", "experts_out".
std::string_view GroupName(LinearGroup group);
// What the group's product is for.
worker::WeightRole RoleOf(LinearGroup group);
// Modules of the group in layer `layer`, as "model.layers.0.mlp.up_proj"; none if the layer has no
// such product.
std::vector<std::string> GroupModules(const worker::DecoderSpec& spec, int64_t layer,
                                      LinearGroup group);
// Whether the group's rows are whole groups of so many values, as readers of int4 want them.
bool FillsGroups(const worker::DecoderSpec& spec, int64_t layer, LinearGroup group,
                 int64_t group_size);
// Whether factors can move between the group's input channels and what makes them: a norm that
// makes nobody else's input, or the up projection of a gated feed-forward. What makes the input of
// attention's output projection is shared by several heads.
bool CanSmooth(const worker::LayerSpec& layer, LinearGroup group);
// Of all tensors that the layer declares.
std::set<std::string> LayerTensorNames(const worker::DecoderSpec& spec, int64_t layer);
// Matrices of the layer that no group has, which stay as they are: routers, and latent attention's
// matrices of heads.
std::vector<std::string> OtherModules(const worker::DecoderSpec& spec, int64_t layer);

struct LayerPlan {
  WeightScheme scheme = WeightScheme::kInt8;
  int64_t group_size = kDefaultGroupSize;  // of int4: divides the columns of what is not kept
  PerGroup<bool> keep{};                   // stays in the checkpoint's own type
  // Per input channel: weights are multiplied by it, and what makes the input is divided. Empty:
  // nothing is moved, as where CanSmooth is false.
  PerGroup<std::vector<float>> smoothing;
};

struct OwnedTensor {
  worker::TensorView view;  // of `bytes`
  std::vector<char> bytes;
};

// That weights of this type can be read. Errors: Unimplemented naming the tensor.
absl::Status CheckType(const worker::TensorView& tensor);
// A matrix in 8-bit floats with scales of blocks as bf16. REQUIRES: both are there. Errors:
// InvalidArgument for scales that do not cover it.
absl::StatusOr<OwnedTensor> Widened(const worker::Checkpoint& checkpoint,
                                    const worker::TensorView& tensor);

// All tensors of layer `layer` as `spec` has them, which is the checkpoint's with the experts as
// modules (expert_modules.h), ordered so that each begins at a multiple of its type's size; the
// same for any number of threads (0: one per processor).
// Matrices in 8-bit floats that are kept become bf16. Errors: those of CheckType.
absl::StatusOr<std::vector<OwnedTensor>> QuantizeLayer(const worker::Checkpoint& checkpoint,
                                                       const worker::DecoderSpec& spec,
                                                       int64_t layer, const LayerPlan& plan,
                                                       int threads);

// max|w| of each input channel over the group's matrices, `plan` applied to their rows.
std::vector<float> LargestWeights(const worker::Checkpoint& checkpoint, int64_t layer,
                                  LinearGroup group, const LayerPlan& plan, int threads);

}  // namespace pingti::tools
