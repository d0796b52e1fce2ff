// What a router makes of a checkpoint's texts, made here first: a tokenizer or a chat template that
// no router could use stops a worker before it loads anything, and `pingti inspect` tells of it.
// Pure functions; thread-safe.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/text/tokenizer.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// Errors: NotFound when the checkpoint has no tokenizer; InvalidArgument and Unimplemented of the
// tokenizer's file.
absl::StatusOr<std::unique_ptr<text::Tokenizer>> MakeTokenizer(const TextAssets& assets);

// Whether every chat template can be parsed; what only shows while one is rendered is not asked.
// Errors: InvalidArgument, Unimplemented, with the template's name where it has one, and the line.
absl::Status CheckTemplates(const TextAssets& assets);

}  // namespace pingti::worker
