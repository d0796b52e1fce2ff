// What the worker tells routers about its model: the card and the files it names.
//
// Built once at start from the checkpoint; immutable afterwards.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/pingti/worker/v1/worker.pb.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

struct ServedCard {
  v1::ModelCard card;
  std::map<std::string, std::string> assets;  // sha256 in hex -> bytes
};

// What the card says beyond the checkpoint.
struct CardFacts {
  std::string model_id;  // empty: named after the checkpoint's path
  std::vector<std::string> aliases;
  std::string weight_format;
  std::string kv_format;
  int32_t max_context_tokens = 0;
  int32_t max_batch_tokens = 0;
  int32_t max_batch_size = 0;
  int32_t kv_block_tokens = 0;
  int32_t kv_total_blocks = 0;
  int32_t vocab_size = 0;
  int64_t created_unix_s = 0;
  bool grammars = false;  // constrained decoding is there
};

// Errors: InvalidArgument when the checkpoint has no tokenizer or a special token outside the
// vocabulary.
absl::StatusOr<ServedCard> BuildModelCard(const Checkpoint& checkpoint, const CardFacts& facts);

// The last part of the path without ".gguf".
std::string ModelIdFromPath(const std::string& path);
// What clients call the model: the setting, or where that is empty what its path is named.
std::string ServedModelId(const std::string& setting, const std::string& path);

}  // namespace pingti::worker
