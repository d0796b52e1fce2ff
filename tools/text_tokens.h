// A text as a checkpoint's own tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"

namespace pingti::tools {

struct TextTokens {
  std::vector<int32_t> ids;
  bool from_tokenizer = true;
  double encode_seconds = 0.0;  // that turning the text into tokens took
};

// The first `max_tokens` tokens of the file `path`, or of the sample text when it is empty. A
// checkpoint without a tokenizer gets arbitrary tokens, the same each time, in place of the sample.
// Errors: NotFound and others of the file; InvalidArgument when it gives fewer than 2 tokens, or
// when a file is given and there is no tokenizer; the tokenizer's own.
absl::StatusOr<TextTokens> ReadTokens(const worker::Checkpoint& checkpoint, const std::string& path,
                                      int max_tokens);

}  // namespace pingti::tools
