// A checkpoint's tokens as grammars see them: the bytes that each adds to a text.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/grammar/vocabulary.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// Control tokens stand in a text only where a form names them (common/grammar/control_token.h), and
// the lone byte with which they are written there never does. `vocab_size` is the model's, at
// least the tokenizer's. Errors: those of the tokenizer's file; InvalidArgument when there is none,
// or no end-of-sequence token, without which no constrained text could end.
absl::StatusOr<std::shared_ptr<const grammar::Vocabulary>> ModelVocabulary(const TextAssets& text,
                                                                           int32_t vocab_size);

}  // namespace pingti::worker
