// Reads the keys of a GGUF file that families share, and the options that show in its tensors.
// Source of names and defaults: llama.cpp's gguf-py constants and its converters.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "worker/model/families/dense.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {

// Everything of `options` but qk_norm and interleaved_qk. Keys begin with `architecture` and a dot.
// `may_rotate_partly`: the architecture's first dimensions of a head may rotate alone, in halves.
// Errors: InvalidArgument or Unimplemented naming the key, its value and what was expected.
absl::StatusOr<DenseOptions> ReadGgufDense(const GgufFile& file, std::string_view architecture,
                                           bool may_rotate_partly = false);

// MakeDenseDecoder, and the tensors that a file may hold beside its blocks'.
DecoderSpec MakeGgufDenseDecoder(const DenseOptions& options, const DenseNames& names);

}  // namespace pingti::worker
