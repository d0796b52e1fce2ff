#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {
PINGTI_DECODE_INSTANCES(__half, false, 64);
}  // namespace pingti::kernels::decode
