#include "worker/layers/decoder_layer.h"

#include "common/base/status_macros.h"

namespace pingti::worker {

absl::Status DecoderLayer::Forward(Backend& backend, Communicator& comm, KvCache& cache,
                                   const DecoderActivations& act) const {
  if (index_ == 0) {
    PINGTI_RETURN_IF_ERROR(
        backend.RmsNorm(act.residual, *weights_.input_norm, norm_eps_, act.normed));
  } else {
    PINGTI_RETURN_IF_ERROR(
        backend.AddRmsNorm(act.delta, act.residual, *weights_.input_norm, norm_eps_, act.normed));
  }
  PINGTI_RETURN_IF_ERROR(backend.Linear(*weights_.qkv, act.normed, act.qkv));
  const HeadNorms norms{weights_.q_norm.get(), weights_.k_norm.get(), norm_eps_};
  PINGTI_RETURN_IF_ERROR(backend.RopeAndAppendKv(act.qkv, attention_, norms, cache, index_));
  PINGTI_RETURN_IF_ERROR(backend.Attention(act.qkv, attention_, cache, index_, act.context));
  PINGTI_RETURN_IF_ERROR(backend.Linear(*weights_.o, act.context, act.delta));
  PINGTI_RETURN_IF_ERROR(comm.AllReduceSum(act.delta));
  PINGTI_RETURN_IF_ERROR(
      backend.AddRmsNorm(act.delta, act.residual, *weights_.post_norm, norm_eps_, act.normed));
  PINGTI_RETURN_IF_ERROR(backend.Linear(*weights_.gate_up, act.normed, act.gate_up));
  PINGTI_RETURN_IF_ERROR(backend.SiluMul(act.gate_up, act.hidden));
  PINGTI_RETURN_IF_ERROR(backend.Linear(*weights_.down, act.hidden, act.delta));
  return comm.AllReduceSum(act.delta);
}

}  // namespace pingti::worker
