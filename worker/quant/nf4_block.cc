// Blocks of bitsandbytes' NF4, as worker/weights/bitsandbytes.h brings them together.
#include <cstring>

#include "worker/quant/ggml_block_types.h"
#include "worker/tensor/nf4.h"

namespace pingti::worker::ggml {

// f32 scale, 32 bytes of two values each, the first in the high half.
void Nf4(const uint8_t* block, float* out) {
  float scale;
  std::memcpy(&scale, block, sizeof(scale));
  for (int i = 0; i < 32; ++i) {
    out[2 * i] = scale * kNf4Values[block[4 + i] >> 4];
    out[2 * i + 1] = scale * kNf4Values[block[4 + i] & 15];
  }
}

}  // namespace pingti::worker::ggml
