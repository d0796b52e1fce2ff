// Latent attention of tiles of a prefill plan, over latents in bf16.
#include "kernels/attention/latent/launch_instance.cuh"

namespace pingti::kernels::latent {

template cudaError_t LaunchInstance<PrefillSource, false>(const LatentTensors&, const Args&,
                                                          const PrefillArgs&, int, int,
                                                          cudaStream_t);

}  // namespace pingti::kernels::latent
