// Reads what a config.json says about rotary positions. Names and defaults are transformers'.
#pragma once

#include "absl/status/status.h"
#include "worker/model/families/dense.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

// rope_theta, partial_rotary_factor, and rope_scaling (transformers 4) or rope_parameters
// (transformers 5, where it may have an entry per type of layer). A scaling that is meant to
// stretch the context changes max_context. REQUIRES: head_dim, max_context and num_layers are set.
// Errors: InvalidArgument or Unimplemented naming the field, its value and what was expected.
absl::Status ReadHfRope(const JsonFields& config, DenseOptions* options);

}  // namespace pingti::worker
