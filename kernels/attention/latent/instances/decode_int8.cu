// Latent attention of pieces of a decode plan, over latents in int8.
#include "kernels/attention/latent/launch_instance.cuh"

namespace pingti::kernels::latent {

template cudaError_t LaunchInstance<DecodeSource, true>(const LatentTensors&, const Args&,
                                                        const DecodeArgs&, int, int, cudaStream_t);

}  // namespace pingti::kernels::latent
