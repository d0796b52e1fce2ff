// Pre-tokenizers of the model families that GGUF files and tiktoken files name instead of spelling
// them out. Sources: the tokenizer.json each family publishes; names as llama.cpp writes them.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "common/text/normalizer.h"
#include "common/text/pre_tokenizer.h"

namespace pingti::text {

// GPT-2's words: contractions, letters, digits, symbols with a leading space; runs of white space
// leave their last character to the word that follows.
extern const std::string_view kGpt2Pattern;
extern const std::string_view kLlama3Pattern;
extern const std::string_view kQwen2Pattern;
// Falcon's last step: numbers are cut into threes from the left.
extern const std::string_view kThreeDigitsPattern;

struct FamilyRules {
  PreTokenizer pre_tokenizer;
  Normalizer normalizer;
  bool ignore_merges = false;
  bool adds_bos = false;  // where the file does not say
};

// An empty name means llama.cpp's default. Errors: Unimplemented naming `family` and the families
// there are.
absl::StatusOr<FamilyRules> MakeFamilyRules(std::string_view family);

}  // namespace pingti::text
