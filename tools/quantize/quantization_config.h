// The config.json of a checkpoint that was quantized: the original with what readers of
// compressed-tensors need (source: compressed-tensors' QuantizationConfig, format "int-quantized").
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::tools {

// `kept_modules`: names of those that are not int8. Errors: as of reading and parsing the file.
absl::StatusOr<std::string> QuantizedConfig(const std::string& original_path,
                                            const std::vector<std::string>& kept_modules);

}  // namespace pingti::tools
