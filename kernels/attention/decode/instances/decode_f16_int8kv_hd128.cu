#include "kernels/attention/decode/launch_instance.cuh"

namespace pingti::kernels::decode {
PINGTI_DECODE_INSTANCES(__half, true, 128);
}  // namespace pingti::kernels::decode
