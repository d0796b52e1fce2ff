// A norm of activations with its weight. Confined to the engine thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/declarations.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class Norm {
 public:
  // Of rows of `size` values.
  Norm(NormSpec spec, int64_t size);

  void DeclareWeights(Declarations* out);

  // out = norm(x); x and out may be the same.
  absl::Status Apply(Backend& backend, MatrixView x, const Operand& out) const;
  // residual += sum over ranks of delta; out = norm(residual). `delta` holds anything afterwards.
  absl::Status AddAndApply(Communicator& comm, MatrixView delta, MatrixView residual,
                           const Operand& out) const;

  const DeviceBuffer* weight() const { return weight_.get(); }
  float eps() const { return static_cast<float>(spec_.eps); }

 private:
  NormSpec spec_;
  int64_t size_;
  std::unique_ptr<DeviceBuffer> weight_;  // f32 [size]
  std::unique_ptr<DeviceBuffer> bias_;    // f32 [size]; null: none
};

}  // namespace pingti::worker
