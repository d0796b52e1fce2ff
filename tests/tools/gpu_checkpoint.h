// A tiny checkpoint that the GPU's attention can run, whose heads have 64 values (those of
// tests/golden/model/tiny have 16).
#pragma once

#include <string>

namespace pingti::tools::testing {

// Writes a Qwen2 of two layers in bf16, random by a fixed seed, without a tokenizer, into the new
// directory `folder`.
void WriteGpuCheckpoint(const std::string& folder);

}  // namespace pingti::tools::testing
