// See patterns.h.
#include "common/text/patterns.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/utf8.h"

namespace pingti::text {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::string_view kDeepSeekV3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

absl::Status AddPattern(std::string_view pattern, FamilyRules* rules) {
  PINGTI_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  rules->pre_tokenizer.Add(SplitByRegex(std::move(regex), SplitBehavior::kIsolated, false));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FamilyRules> MakeFamilyRules(std::string_view family) {
  FamilyRules rules;
  if (family == "gpt-2" || family == "gpt2") {
    PINGTI_RETURN_IF_ERROR(AddPattern(kGpt2Pattern, &rules));
  } else if (family == "smollm") {
    rules.pre_tokenizer.Add(SplitByChar(IsNumeric, SplitBehavior::kIsolated));
    PINGTI_RETURN_IF_ERROR(AddPattern(kGpt2Pattern, &rules));
  } else if (family == "llama-bpe" || family == "llama3" || family == "llama-v3") {
    PINGTI_RETURN_IF_ERROR(AddPattern(kLlama3Pattern, &rules));
    rules.ignore_merges = true;
  } else if (family == "qwen2" || family == "deepseek-r1-qwen") {
    PINGTI_RETURN_IF_ERROR(AddPattern(kQwen2Pattern, &rules));
    rules.normalizer.Add(UnicodeFormStep(UnicodeForm::kNfc));
  } else if (family == "deepseek-v3") {
    PINGTI_RETURN_IF_ERROR(AddPattern(R"(\p{N}{1,3})", &rules));
    PINGTI_RETURN_IF_ERROR(AddPattern("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", &rules));
    PINGTI_RETURN_IF_ERROR(AddPattern(kDeepSeekV3Words, &rules));
  } else {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.ggml.pre '", std::string(family),
                     "' is not supported; supported: gpt-2, smollm, llama-bpe, qwen2, "
                     "deepseek-r1-qwen, deepseek-v3"));
  }
  return rules;
}

}  // namespace pingti::text
