#include "worker/comm/communicator.h"

#include "common/base/status_macros.h"

namespace pingti::worker {

absl::Status Communicator::AllReduceAddRmsNorm(MatrixView delta, MatrixView residual,
                                               const DeviceBuffer& weight, float eps,
                                               const Operand& out) {
  PINGTI_RETURN_IF_ERROR(AllReduceSum(delta));
  return backend_->AddRmsNorm(delta, residual, weight, eps, out);
}

absl::Status Communicator::AllReduceAddLayerNorm(MatrixView delta, MatrixView residual,
                                                 const DeviceBuffer& weight,
                                                 const DeviceBuffer* bias, float eps,
                                                 const Operand& out) {
  PINGTI_RETURN_IF_ERROR(AllReduceSum(delta));
  return backend_->AddLayerNorm(delta, residual, weight, bias, eps, out);
}

}  // namespace pingti::worker
