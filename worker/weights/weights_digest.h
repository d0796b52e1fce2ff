// Tells checkpoints of equal shapes apart by what is in their weights, at the cost of a few pages
// per tensor.
#pragma once

#include <string>

#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// SHA-256, in hexadecimal digits, over pieces of 64 bytes from places spread evenly over every
// tensor, its last bytes among them. Two checkpoints that differ only between the pieces have equal
// digests; any training step, conversion or quantization changes the pieces too. Tensors without
// data (of a random model) count by name alone.
std::string WeightsDigest(const Checkpoint& checkpoint);

}  // namespace pingti::worker
