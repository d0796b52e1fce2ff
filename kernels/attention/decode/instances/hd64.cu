// Decode attention for heads of 64 over bf16 KV.
#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {

template cudaError_t LaunchInstance<Traits<false, 64, 1>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 64, 2>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 64, 4>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<false, 64, 8>>(const DecodeAttentionParams&,
                                                          cudaStream_t);

}  // namespace pingti::kernels::decode
