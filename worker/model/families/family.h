// A family of models: what turns a checkpoint's configuration into a DecoderSpec. Each family is a
// page of this folder; registry.cc lists them, and nothing outside this folder names one.
// How to add one: docs/adding_a_model.md. Pure functions; thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/spec/decoder_spec.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/gguf_file.h"
#include "worker/weights/json_fields.h"

namespace pingti::worker {

struct Family {
  // The class in config.json's `architectures`. Empty: not read from Hugging Face.
  std::string_view hf_class = "";
  // The file's general.architecture. Empty: not read from GGUF.
  std::string_view gguf_architecture = "";
  // Errors: InvalidArgument naming the field, its value and what was expected; Unimplemented naming
  // an option that pingti lacks.
  absl::StatusOr<DecoderSpec> (*from_hf)(const JsonFields& config) = nullptr;
  absl::StatusOr<DecoderSpec> (*from_gguf)(const GgufFile& file) = nullptr;
  // Adds the chat template that the family's own code writes in the format that
  // generation_config.json names, if the checkpoint has none. Null: there is no such code.
  void (*add_chat_format)(std::string_view chat_format, TextAssets* text) = nullptr;
};

// All of them.
std::span<const Family> Families();

// By what the checkpoint says it is. Errors: Unimplemented naming it and all that are known.
absl::StatusOr<const Family*> FindHfFamily(const JsonFields& config);
absl::StatusOr<const Family*> FindGgufFamily(const GgufFile& file);

}  // namespace pingti::worker
