// Decode attention for heads of 128 over bf16 KV.
#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {

template cudaError_t LaunchInstance<Traits<false, 128, 1>>(const DecodeAttentionParams&,
                                                           cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 128, 2>>(const DecodeAttentionParams&,
                                                           cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 128, 4>>(const DecodeAttentionParams&,
                                                           cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 128, 8>>(const DecodeAttentionParams&,
                                                           cudaStream_t);

}  // namespace pingti::kernels::decode
