#include "kernels/comm/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchSumKernel<2>(const CommArgs&, DType, const CommLaunch&, cudaStream_t);
template cudaError_t LaunchGatherKernel<2>(const CommArgs&, DType, const CommLaunch&, cudaStream_t);
template cudaError_t LaunchNormKernel<2>(const NormArgs&, const CommLaunch&, cudaStream_t);

}  // namespace pingti::kernels
