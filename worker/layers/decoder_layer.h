// One transformer block: norm, attention, norm, gated MLP, with residuals. Every family that pingti
// serves is this block with other options; nothing here names a family or a device.
//
// Confined to the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"

namespace pingti::worker {

// Prepared weights of one block. q_norm and k_norm are null where the family has none.
struct DecoderLayerWeights {
  std::unique_ptr<DeviceBuffer> input_norm;  // f32 [hidden]
  std::unique_ptr<DeviceBuffer> post_norm;   // f32 [hidden]
  std::unique_ptr<DeviceBuffer> q_norm;      // f32 [head_dim]
  std::unique_ptr<DeviceBuffer> k_norm;      // f32 [head_dim]
  std::unique_ptr<LinearWeight> qkv;         // [(heads + 2 kv_heads) * head_dim, hidden]
  std::unique_ptr<LinearWeight> o;           // [hidden, heads * head_dim]
  std::unique_ptr<LinearWeight> gate_up;     // [2 * intermediate, hidden]
  std::unique_ptr<LinearWeight> down;        // [hidden, intermediate]
};

// Activations that all layers share; rows are the step's tokens.
struct DecoderActivations {
  MatrixView residual;  // [tokens, hidden], the stream that blocks add to
  MatrixView delta;     // [tokens, hidden], the last block's output, not yet added
  Operand normed;       // [tokens, hidden]
  MatrixView qkv;       // [tokens, (heads + 2 kv_heads) * head_dim]
  Operand context;      // [tokens, heads * head_dim]
  MatrixView gate_up;   // [tokens, 2 * intermediate]
  Operand hidden;       // [tokens, intermediate]
};

class DecoderLayer {
 public:
  DecoderLayer(int64_t index, DecoderLayerWeights weights, AttentionShape attention, float norm_eps)
      : index_(index), weights_(std::move(weights)), attention_(attention), norm_eps_(norm_eps) {}

  // Adds the previous block's delta to the residual (not for the first block, whose residual is the
  // embedding), runs the block, and leaves its MLP's output in activations.delta.
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const DecoderActivations& activations) const;

  const DecoderLayerWeights& weights() const { return weights_; }

 private:
  int64_t index_;
  DecoderLayerWeights weights_;
  AttentionShape attention_;
  float norm_eps_;
};

}  // namespace pingti::worker
