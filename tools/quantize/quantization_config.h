// The config.json of a checkpoint that was quantized: the original with what readers of
// compressed-tensors need (source: compressed-tensors' QuantizationConfig). int8 is its format
// "int-quantized", int4 "pack-quantized": of the packed formats the one that writes rows as they
// are, that says symmetric weights without zero points, and that vLLM, SGLang and transformers read
// for dense models and for experts alike. GPTQ's packs along columns and stores zeros as zero - 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/quantize/weight_scheme.h"

namespace pingti::tools {

// `group_size`: of int4. `kept_modules`: names of those that are not quantized. Errors: as of
// reading and parsing the file.
absl::StatusOr<std::string> QuantizedConfig(const std::string& original_path, WeightScheme scheme,
                                            int64_t group_size,
                                            const std::vector<std::string>& kept_modules);

}  // namespace pingti::tools
