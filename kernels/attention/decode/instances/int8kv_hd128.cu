// Decode attention for heads of 128 over int8 KV.
#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {

template cudaError_t LaunchInstance<Traits<true, 128, 0>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 128, 1>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 128, 2>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 128, 4>>(const DecodeAttentionParams&,
                                                          cudaStream_t);
template cudaError_t LaunchInstance<Traits<true, 128, 8>>(const DecodeAttentionParams&,
                                                          cudaStream_t);

}  // namespace pingti::kernels::decode
