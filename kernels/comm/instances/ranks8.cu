#include "kernels/comm/launch_instance.cuh"

namespace pingti::kernels {

template cudaError_t LaunchSumKernel<8>(const CommArgs&, DType, const CommLaunch&, cudaStream_t);
template cudaError_t LaunchGatherKernel<8>(const CommArgs&, DType, const CommLaunch&, cudaStream_t);
template cudaError_t LaunchNormKernel<8>(const NormArgs&, const CommLaunch&, cudaStream_t);

}  // namespace pingti::kernels
