// Reads quantization_config of a Hugging Face config.json: how a checkpoint's matrices are
// quantized. Internal to worker/weights.
#pragma once

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

// At most one is present.
struct HfQuantization {
  CompressedInt8 int8;
  PackedQuantization packed;
  Fp8Blocks fp8;
  bool bitsandbytes = false;
  bool mxfp4 = false;  // of experts, see Checkpoint::mxfp4
};

// `fields`: the whole configuration. Errors: InvalidArgument or Unimplemented naming the field, its
// value and what was expected.
absl::StatusOr<HfQuantization> ReadHfQuantization(const JsonFields& fields);

}  // namespace pingti::worker
