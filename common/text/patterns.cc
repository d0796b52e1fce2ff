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

const std::string_view kThreeDigitsPattern = "[0-9][0-9][0-9]";

namespace {

constexpr std::string_view kDeepSeekV3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Letters with case: those of Unicode 11 in the ranges that DeepSeek LLM lists.
constexpr const char kCasedLetters[] =
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}-\x{377}\x{37B}-\x{37D}\x{37F}\x{386})"
    R"(\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F})"
    R"(\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA})"
    R"(\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15})"
    R"(\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"
    R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}-\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}-\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})";
constexpr const char kDeepSeekPunctuation[] =
    R"(!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002})";
// Ideographs, everything between Samaritan and them, Hangul.
constexpr const char kDeepSeekEastern[] =
    R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

absl::Status AddPattern(std::string_view pattern, FamilyRules* rules) {
  PINGTI_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  rules->pre_tokenizer.Add(SplitByRegex(std::move(regex), SplitBehavior::kIsolated, false));
  return absl::OkStatus();
}

// Each pattern cuts what the one before left.
absl::Status AddDeepSeekLlm(FamilyRules* rules) {
  for (const std::string& pattern :
       {std::string("[\\r\\n]"), absl::StrCat("\\s?[", kCasedLetters, "]+"),
        absl::StrCat("\\s?[", kDeepSeekPunctuation, "]+"), std::string("\\s+$"),
        std::string(kDeepSeekEastern)}) {
    PINGTI_RETURN_IF_ERROR(AddPattern(pattern, rules));
  }
  rules->pre_tokenizer.Add(SplitByChar(IsNumeric, SplitBehavior::kIsolated));
  return absl::OkStatus();
}

absl::Status AddDeepSeekCoder(FamilyRules* rules) {
  for (const char* pattern : {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kDeepSeekEastern}) {
    PINGTI_RETURN_IF_ERROR(AddPattern(pattern, rules));
  }
  rules->pre_tokenizer.Add(SplitByChar(IsNumeric, SplitBehavior::kIsolated));
  return absl::OkStatus();
}

absl::Status AddDeepSeekV3(FamilyRules* rules) {
  PINGTI_RETURN_IF_ERROR(AddPattern(R"(\p{N}{1,3})", rules));
  PINGTI_RETURN_IF_ERROR(AddPattern("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", rules));
  return AddPattern(kDeepSeekV3Words, rules);
}

// The last two steps come behind ByteLevel and see bytes.
absl::Status AddFalcon(FamilyRules* rules) {
  PINGTI_RETURN_IF_ERROR(AddPattern(R"([\p{P}$+<=>^`|~]+)", rules));
  PINGTI_RETURN_IF_ERROR(AddPattern(kGpt2Pattern, rules));
  rules->pre_tokenizer.Add(SplitByBytes(IsNumericByte, 1, SplitBehavior::kContiguous));
  rules->pre_tokenizer.Add(SplitByBytes(IsAsciiDigit, 3, SplitBehavior::kIsolated));
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
    rules.adds_bos = true;
  } else if (family == "qwen2" || family == "deepseek-r1-qwen") {
    PINGTI_RETURN_IF_ERROR(AddPattern(kQwen2Pattern, &rules));
    rules.normalizer.Add(UnicodeFormStep(UnicodeForm::kNfc));
  } else if (family == "deepseek-llm") {
    PINGTI_RETURN_IF_ERROR(AddDeepSeekLlm(&rules));
  } else if (family == "deepseek-coder") {
    PINGTI_RETURN_IF_ERROR(AddDeepSeekCoder(&rules));
  } else if (family == "deepseek-v3") {
    PINGTI_RETURN_IF_ERROR(AddDeepSeekV3(&rules));
  } else if (family == "falcon") {
    PINGTI_RETURN_IF_ERROR(AddFalcon(&rules));
  } else {
    return absl::UnimplementedError(absl::StrCat(
        "tokenizer.ggml.pre '", std::string(family),
        "' is not supported; supported: gpt-2, smollm, llama-bpe, qwen2, deepseek-r1-qwen, "
        "deepseek-llm, deepseek-coder, deepseek-v3, falcon"));
  }
  return rules;
}

}  // namespace pingti::text
