// Decode attention for heads of 64 over int8 KV.
#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {

template cudaError_t LaunchInstance<Traits<true, 64, 0>>(const DecodeAttentionParams&,
                                                         cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 64, 1>>(const DecodeAttentionParams&,
                                                         cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 64, 2>>(const DecodeAttentionParams&,
                                                         cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 64, 4>>(const DecodeAttentionParams&,
                                                         cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 64, 8>>(const DecodeAttentionParams&,
                                                         cudaStream_t);

}  // namespace pingti::kernels::decode
