// Reads the keys of a GGUF file that families share, and the options that show in its tensors.
// Source of names and defaults: llama.cpp's gguf-py constants and its converters.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "worker/model/families/dense.h"
#include "worker/weights/gguf_file.h"

namespace pingti::worker {

// What an architecture may have beyond its relatives.
struct GgufFeatures {
  bool rotates_partly = false;  // the first dimensions of a head may rotate alone, in halves
  bool has_experts = false;     // its page reads the keys of a mixture of experts
  // Its page reads the sizes of heads; head_dim becomes what rotates of them.
  bool has_latent_attention = false;
};

// Everything of `options` but qk_norm and interleaved_qk. Keys begin with `architecture` and a dot.
// Errors: InvalidArgument or Unimplemented naming the key, its value and what was expected.
absl::StatusOr<DenseOptions> ReadGgufDense(const GgufFile& file, std::string_view architecture,
                                           const GgufFeatures& features = {});

// MakeDenseDecoder, and the tensors that a file may hold beside its blocks'.
DecoderSpec MakeGgufDenseDecoder(const DenseOptions& options, const DenseNames& names);

}  // namespace pingti::worker
