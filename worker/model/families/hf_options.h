// Reads the fields of a config.json that families share. Names and defaults are transformers'.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "worker/model/families/dense.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

// Sizes, norm, context and rotary scaling of Llama's relatives: all but biases, windows and names.
// Errors: InvalidArgument or Unimplemented naming the field, its value and what was expected.
absl::Status ReadHfDense(const JsonFields& config, DenseOptions* options);

// Which layers see a window: `layer_types` where it is given, else those from `first_layer` on.
absl::Status ReadHfWindows(const JsonFields& config, int64_t first_layer, DenseOptions* options);

// That the option is absent or has the value given. Errors: Unimplemented.
absl::Status ExpectHfNumber(const JsonFields& config, std::string_view key, double expected);
absl::Status ExpectHfString(const JsonFields& config, std::string_view key,
                            std::string_view expected);

}  // namespace pingti::worker
