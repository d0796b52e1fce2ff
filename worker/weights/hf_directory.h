// A Hugging Face model directory: config.json, safetensors (one file or shards with an index), and
// the tokenizer's files. What config.json says about the model itself is left to a family's page.
#pragma once

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/hf_quantization.h"

namespace pingti::worker {

struct HfDirectory {
  boost::json::value config;  // config.json; an object
  HfQuantization quantization;
  std::vector<TensorView> tensors;
  // That the tensors point into.
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<std::unique_ptr<std::byte[]>> memory;
  TextAssets text;
  std::string chat_format;  // of generation_config.json: a template that code elsewhere writes
};

// `with_tensors`: else no safetensors are looked for.
// Errors: NotFound, InvalidArgument, Unimplemented; every message starts with the file's path.
absl::StatusOr<HfDirectory> ReadHfDirectory(const std::string& directory, bool with_tensors);

}  // namespace pingti::worker
