// Latent attention of pieces of a decode plan, over latents in bf16.
#include "kernels/attention/latent/launch_instance.cuh"

namespace pingti::kernels::latent {

template cudaError_t LaunchInstance<DecodeSource, false>(const LatentTensors&, const Args&,
                                                         const DecodeArgs&, int, int, cudaStream_t);

}  // namespace pingti::kernels::latent
