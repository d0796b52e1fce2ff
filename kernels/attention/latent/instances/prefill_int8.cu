// Latent attention of tiles of a prefill plan, over latents in int8.
#include "kernels/attention/latent/launch_instance.cuh"

namespace pingti::kernels::latent {

template cudaError_t LaunchInstance<PrefillSource, true>(const LatentTensors&, const Args&,
                                                         const PrefillArgs&, int, int,
                                                         cudaStream_t);

}  // namespace pingti::kernels::latent
