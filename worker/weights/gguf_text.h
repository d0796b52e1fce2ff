// What a GGUF file says about text: its tokenizer, templates and special tokens.
#pragma once

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {

// Errors: InvalidArgument naming a key of another type.
absl::StatusOr<TextAssets> ReadGgufText(const GgufFile& file);

}  // namespace pingti::worker
