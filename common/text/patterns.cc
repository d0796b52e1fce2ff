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

// Words of one case order: capitals before small letters. Mistral's (tekken) and OpenAI's (o200k).
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen2's with marks among the letters.
constexpr std::string_view kQwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
    R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

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

// What llama.cpp cuts by where a file names no family.
absl::Status AddDefault(FamilyRules* rules) {
  for (const std::string_view pattern : {std::string_view(R"([\p{P}$+<=>^~|]+)"), kGpt2Pattern,
                                         std::string_view(R"(\p{N}+)"), kThreeDigitsPattern}) {
    PINGTI_RETURN_IF_ERROR(AddPattern(pattern, rules));
  }
  return absl::OkStatus();
}

absl::Status AddDigitsAndGpt2(FamilyRules* rules) {
  rules->pre_tokenizer.Add(SplitByChar(IsNumeric, SplitBehavior::kIsolated));
  return AddPattern(kGpt2Pattern, rules);
}

template <const std::string_view* pattern>
absl::Status AddOne(FamilyRules* rules) {
  return AddPattern(*pattern, rules);
}

enum Option : unsigned { kPlain = 0, kNfc = 1, kIgnoreMerges = 2, kAddsBos = 4 };

struct Family {
  std::string_view name;
  absl::Status (*add_steps)(FamilyRules* rules);
  unsigned options;
};

constexpr Family kFamilies[] = {
    {"gpt-2", AddOne<&kGpt2Pattern>, kPlain},
    {"gpt2", AddOne<&kGpt2Pattern>, kPlain},
    {"phi-2", AddOne<&kGpt2Pattern>, kPlain},
    {"gpt-neox", AddOne<&kGpt2Pattern>, kNfc},
    {"mpt", AddOne<&kGpt2Pattern>, kNfc},
    {"olmo", AddOne<&kGpt2Pattern>, kNfc},
    {"smollm", AddDigitsAndGpt2, kPlain},
    {"starcoder", AddDigitsAndGpt2, kPlain},
    {"refact", AddDigitsAndGpt2, kPlain},
    {"command-r", AddDigitsAndGpt2, kNfc},
    {"llama-bpe", AddOne<&kLlama3Pattern>, kIgnoreMerges | kAddsBos},
    {"llama3", AddOne<&kLlama3Pattern>, kIgnoreMerges | kAddsBos},
    {"llama-v3", AddOne<&kLlama3Pattern>, kIgnoreMerges | kAddsBos},
    {"falcon3", AddOne<&kLlama3Pattern>, kIgnoreMerges | kAddsBos},
    {"dbrx", AddOne<&kLlama3Pattern>, kPlain},
    {"smaug-bpe", AddOne<&kLlama3Pattern>, kPlain},
    {"gpt-4o", AddOne<&kGpt4oPattern>, kPlain},
    {"tekken", AddOne<&kTekkenPattern>, kIgnoreMerges | kAddsBos},
    {"qwen2", AddOne<&kQwen2Pattern>, kNfc},
    {"deepseek-r1-qwen", AddOne<&kQwen2Pattern>, kNfc},
    {"qwen35", AddOne<&kQwen35Pattern>, kNfc},
    {"deepseek-llm", AddDeepSeekLlm, kPlain},
    {"deepseek-coder", AddDeepSeekCoder, kPlain},
    {"deepseek-v3", AddDeepSeekV3, kPlain},
    {"falcon", AddFalcon, kPlain},
    {"default", AddDefault, kPlain},
};

}  // namespace

absl::StatusOr<FamilyRules> MakeFamilyRules(std::string_view family) {
  if (family.empty()) family = "default";
  std::string known;
  for (const Family& candidate : kFamilies) {
    if (candidate.name != family) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(candidate.name));
      continue;
    }
    FamilyRules rules;
    PINGTI_RETURN_IF_ERROR(candidate.add_steps(&rules));
    if ((candidate.options & kNfc) != 0) rules.normalizer.Add(UnicodeFormStep(UnicodeForm::kNfc));
    rules.ignore_merges = (candidate.options & kIgnoreMerges) != 0;
    rules.adds_bos = (candidate.options & kAddsBos) != 0;
    return rules;
  }
  return absl::UnimplementedError(absl::StrCat("tokenizer.ggml.pre '", std::string(family),
                                               "' is not supported; supported: ", known));
}

}  // namespace pingti::text
