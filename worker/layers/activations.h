// The matrices of activations that all layers share, and who needs how much of them. A block
// declares the columns it needs and the quantized forms that its products read; a matrix is as wide
// as the widest need of any layer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/operand.h"
#include "worker/tensor/tensor_view.h"

namespace pingti::worker {

// Rows are the step's tokens unless said otherwise. Values are of the backend's activation_dtype(),
// but for those said to be f32.
enum class Activation {
  kResidual,  // the stream that blocks add to
  kDelta,     // the last block's output, not yet added
  kNormed,    // a block's input
  kQkv,       // queries, keys and values of each token
  kContext,   // attention's output, by head
  // Of latent attention.
  kQueryLatent,    // what queries are made of, normalized
  kQuery,          // queries that were made of it
  kLatentQuery,    // queries as they meet the cache, by head
  kLatentContext,  // sums of latents, by head
  kGateUp,         // the feed-forward's gate, then up; or up alone
  kInner,          // the feed-forward's inner activations
  kBranch,         // the feed-forward's output in a parallel layer
  kGathered,       // rows of the residual that need logits
  kFinal,          // the last norm's output for those; its values lie in kDelta
  // Of a mixture of experts.
  kRouterLogits,  // f32
  kSharedGate,    // f32; of the expert that all tokens share
  kShared,        // the shared expert's output
  // A row for every token and expert of it.
  kExpertGateUp,
  kExpertInner,
  kExpertOut,
};
inline constexpr size_t kNumActivations = 20;

class ActivationPlan {
 public:
  // At least so many columns of values.
  void Need(Activation which, int64_t cols);
  // The same of a matrix with several rows per token. REQUIRES: all say equally many.
  void NeedRows(Activation which, int64_t rows_per_token, int64_t cols);
  // The form that a product reads of so many columns. `weight` may be null: it is not loaded yet.
  // All that read one matrix read one form of it, or the values as they are.
  void NeedForm(Activation which, int64_t cols, const LinearWeight* weight);

  int64_t cols(Activation which) const { return slot(which).cols; }
  // Of all matrices for so many tokens, quantized forms included. `dtype`: of activations.
  int64_t Bytes(DType dtype, int64_t tokens) const;

 private:
  friend absl::StatusOr<class Activations> AllocateActivations(
      Backend* backend, const ActivationPlan& plan, int64_t tokens,
      std::vector<std::unique_ptr<DeviceBuffer>>* buffers);
  struct Slot {
    int64_t cols = 0;
    int64_t rows_per_token = 1;
    OperandType form;
    int64_t form_cols = 0;
  };
  const Slot& slot(Activation which) const { return slots_[static_cast<size_t>(which)]; }

  std::array<Slot, kNumActivations> slots_;
};

// Views of the matrices; who made them owns the memory. Cheap to copy.
class Activations {
 public:
  void Set(Activation which, MatrixView values) { slot(which).values = values; }
  // The rows of the first `tokens` tokens of every matrix.
  Activations Rows(int64_t tokens) const;

  // A dense matrix of `cols` columns. REQUIRES: no more than were planned.
  MatrixView Values(Activation which, int64_t cols) const;
  // The quantized form of so many columns; without values where none was planned.
  QuantizedView Form(Activation which, int64_t cols) const;
  // Both.
  Operand Input(Activation which, int64_t cols) const {
    return {Values(which, cols), Form(which, cols)};
  }

 private:
  friend absl::StatusOr<Activations> AllocateActivations(
      Backend* backend, const ActivationPlan& plan, int64_t tokens,
      std::vector<std::unique_ptr<DeviceBuffer>>* buffers);
  struct Slot {
    MatrixView values;
    int64_t rows_per_token = 1;
    OperandType form;
    int64_t form_cols = 0;
    void* form_memory = nullptr;
    int64_t form_rows = 0;  // that the memory holds
  };
  Slot& slot(Activation which) { return slots_[static_cast<size_t>(which)]; }
  const Slot& slot(Activation which) const { return slots_[static_cast<size_t>(which)]; }

  std::array<Slot, kNumActivations> slots_;
};

// The planned matrices for `tokens` tokens; adds what they lie in to `buffers`.
// Errors: ResourceExhausted.
absl::StatusOr<Activations> AllocateActivations(
    Backend* backend, const ActivationPlan& plan, int64_t tokens,
    std::vector<std::unique_ptr<DeviceBuffer>>* buffers);

}  // namespace pingti::worker
