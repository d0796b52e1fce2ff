// Reads the parts of a tokenizer.json around the model: normalizer, pre_tokenizer, post_processor,
// decoder. Source: Hugging Face tokenizers, the serialized form of each component.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/json_fields.h"
#include "common/text/normalizer.h"
#include "common/text/pre_tokenizer.h"
#include "common/text/tokenizer.h"

namespace pingti::text {

// Errors of all: InvalidArgument naming the member; Unimplemented naming a type or an option that
// pingti does not have.
absl::Status ReadNormalizer(const JsonAt& at, Normalizer* normalizer);

// *byte_level: words are spelled in the byte alphabet for the model.
absl::Status ReadPreTokenizer(const JsonAt& at, PreTokenizer* pre_tokenizer, bool* byte_level);

struct DecoderRules {
  bool byte_level = false;
  bool byte_fallback = false;
  bool strips_leading_space = false;
  std::string space_mark;  // becomes a space; empty: nothing does
};
absl::Status ReadDecoder(const JsonAt& at, DecoderRules* rules);

struct PostProcessorRules {
  std::vector<TokenId> prefix, suffix;
};
absl::Status ReadPostProcessor(const JsonAt& at, PostProcessorRules* rules);

}  // namespace pingti::text
