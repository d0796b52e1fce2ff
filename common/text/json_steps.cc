// See json_steps.h.
#include "common/text/json_steps.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/patterns.h"
#include "common/text/utf8.h"

namespace pingti::text {
namespace {

absl::Status Unsupported(const JsonAt& at, std::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat("tokenizer.json: ", at.path, ": ", std::string(what), " is not supported"));
}

// A "pattern": {"String": ...} or {"Regex": ...}.
struct Pattern {
  std::string text;
  bool is_regex = false;
};
absl::StatusOr<Pattern> ReadPattern(const JsonAt& at) {
  PINGTI_ASSIGN_OR_RETURN(const JsonAt pattern, JsonObject(at, "pattern"));
  Pattern read;
  read.is_regex = JsonHas(pattern, "Regex");
  PINGTI_ASSIGN_OR_RETURN(read.text, JsonString(pattern, read.is_regex ? "Regex" : "String"));
  return read;
}

absl::StatusOr<SplitBehavior> ReadBehavior(const JsonAt& at, std::string_view otherwise) {
  PINGTI_ASSIGN_OR_RETURN(const std::string name, JsonStringOr(at, "behavior", otherwise));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Unsupported(at, absl::StrCat("behavior '", name, "'"));
}

bool IsPunctuationOrAsciiSymbol(char32_t c) {
  return IsPunctuation(c) ||
         (c > ' ' && c < 0x7F &&
          std::string_view("$+<=>^`|~").find(static_cast<char>(c)) != std::string_view::npos);
}

absl::Status AddRegex(std::string_view pattern, SplitBehavior behavior, bool invert,
                      PreTokenizer* pre_tokenizer) {
  PINGTI_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  pre_tokenizer->Add(SplitByRegex(std::move(regex), behavior, invert));
  return absl::OkStatus();
}

absl::StatusOr<MetaspacePrepend> ReadPrependScheme(const JsonAt& at) {
  // Older files have add_prefix_space instead.
  PINGTI_ASSIGN_OR_RETURN(const bool add_prefix, JsonBoolOr(at, "add_prefix_space", true));
  PINGTI_ASSIGN_OR_RETURN(const std::string scheme,
                          JsonStringOr(at, "prepend_scheme", add_prefix ? "always" : "never"));
  if (scheme == "always") return MetaspacePrepend::kAlways;
  if (scheme == "first") return MetaspacePrepend::kFirst;
  if (scheme == "never") return MetaspacePrepend::kNever;
  return Unsupported(at, absl::StrCat("prepend_scheme '", scheme, "'"));
}

}  // namespace

absl::Status ReadNormalizer(const JsonAt& at, Normalizer* normalizer) {
  PINGTI_ASSIGN_OR_RETURN(const std::string type, JsonString(at, "type"));
  if (type == "Sequence") {
    PINGTI_ASSIGN_OR_RETURN(const auto* steps, JsonArray(at, "normalizers"));
    for (size_t i = 0; i < steps->size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(const JsonAt step, JsonElement(at, "normalizers", *steps, i));
      PINGTI_RETURN_IF_ERROR(ReadNormalizer(step, normalizer));
    }
  } else if (type == "NFC") {
    normalizer->Add(UnicodeFormStep(UnicodeForm::kNfc));
  } else if (type == "NFD") {
    normalizer->Add(UnicodeFormStep(UnicodeForm::kNfd));
  } else if (type == "NFKC") {
    normalizer->Add(UnicodeFormStep(UnicodeForm::kNfkc));
  } else if (type == "NFKD") {
    normalizer->Add(UnicodeFormStep(UnicodeForm::kNfkd));
  } else if (type == "Lowercase") {
    normalizer->Add(LowercaseStep());
  } else if (type == "Prepend") {
    PINGTI_ASSIGN_OR_RETURN(std::string prefix, JsonString(at, "prepend"));
    normalizer->Add(PrependStep(std::move(prefix)));
  } else if (type == "Replace") {
    PINGTI_ASSIGN_OR_RETURN(Pattern pattern, ReadPattern(at));
    PINGTI_ASSIGN_OR_RETURN(std::string content, JsonString(at, "content"));
    if (pattern.is_regex) {
      PINGTI_ASSIGN_OR_RETURN(Normalizer::Step step,
                              RegexReplaceStep(pattern.text, std::move(content)));
      normalizer->Add(std::move(step));
    } else {
      normalizer->Add(ReplaceStep(std::move(pattern.text), std::move(content)));
    }
  } else if (type == "Strip") {
    PINGTI_ASSIGN_OR_RETURN(const bool left, JsonBoolOr(at, "strip_left", true));
    PINGTI_ASSIGN_OR_RETURN(const bool right, JsonBoolOr(at, "strip_right", true));
    normalizer->Add(StripStep(left, right));
  } else {
    return Unsupported(at, absl::StrCat("normalizer '", type, "'"));
  }
  return absl::OkStatus();
}

// Behind ByteLevel there are bytes, spelled as characters.
absl::Status ReadByteStep(const JsonAt& at, const std::string& type, PreTokenizer* pre_tokenizer) {
  if (type == "Digits") {
    PINGTI_ASSIGN_OR_RETURN(const bool single, JsonBoolOr(at, "individual_digits", false));
    pre_tokenizer->Add(SplitByBytes(
        IsNumericByte, 1, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
    return absl::OkStatus();
  }
  if (type == "Split") {
    PINGTI_ASSIGN_OR_RETURN(const Pattern pattern, ReadPattern(at));
    PINGTI_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(at, ""));
    PINGTI_ASSIGN_OR_RETURN(const bool invert, JsonBoolOr(at, "invert", false));
    if (pattern.is_regex && pattern.text == kThreeDigitsPattern && !invert) {
      pre_tokenizer->Add(SplitByBytes(IsAsciiDigit, 3, behavior));
      return absl::OkStatus();
    }
  }
  return Unsupported(at, absl::StrCat("pre-tokenizer '", type, "' behind ByteLevel"));
}

absl::Status ReadPreTokenizer(const JsonAt& at, PreTokenizer* pre_tokenizer, bool* byte_level) {
  PINGTI_ASSIGN_OR_RETURN(const std::string type, JsonString(at, "type"));
  if (*byte_level) return ReadByteStep(at, type, pre_tokenizer);
  if (type == "Sequence") {
    PINGTI_ASSIGN_OR_RETURN(const auto* steps, JsonArray(at, "pretokenizers"));
    for (size_t i = 0; i < steps->size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(const JsonAt step, JsonElement(at, "pretokenizers", *steps, i));
      PINGTI_RETURN_IF_ERROR(ReadPreTokenizer(step, pre_tokenizer, byte_level));
    }
  } else if (type == "ByteLevel") {
    PINGTI_ASSIGN_OR_RETURN(const bool prefix, JsonBoolOr(at, "add_prefix_space", true));
    PINGTI_ASSIGN_OR_RETURN(const bool use_regex, JsonBoolOr(at, "use_regex", true));
    if (prefix) pre_tokenizer->Add(PrefixSpace());
    if (use_regex) {
      PINGTI_RETURN_IF_ERROR(
          AddRegex(kGpt2Pattern, SplitBehavior::kIsolated, false, pre_tokenizer));
    }
    *byte_level = true;
  } else if (type == "Split") {
    PINGTI_ASSIGN_OR_RETURN(const Pattern pattern, ReadPattern(at));
    PINGTI_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(at, ""));
    PINGTI_ASSIGN_OR_RETURN(const bool invert, JsonBoolOr(at, "invert", false));
    const std::string regex = pattern.is_regex ? pattern.text : EscapeForRegex(pattern.text);
    PINGTI_RETURN_IF_ERROR(AddRegex(regex, behavior, invert, pre_tokenizer));
  } else if (type == "Digits") {
    PINGTI_ASSIGN_OR_RETURN(const bool single, JsonBoolOr(at, "individual_digits", false));
    pre_tokenizer->Add(
        SplitByChar(IsNumeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    PINGTI_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(at, "Isolated"));
    pre_tokenizer->Add(SplitByChar(IsPunctuationOrAsciiSymbol, behavior));
  } else if (type == "Metaspace") {
    PINGTI_ASSIGN_OR_RETURN(std::string mark, JsonString(at, "replacement"));
    PINGTI_ASSIGN_OR_RETURN(const MetaspacePrepend prepend, ReadPrependScheme(at));
    PINGTI_ASSIGN_OR_RETURN(const bool split, JsonBoolOr(at, "split", true));
    if (mark.empty()) return Unsupported(at, "an empty replacement");
    pre_tokenizer->Add(Metaspace(std::move(mark), prepend, split));
  } else {
    return Unsupported(at, absl::StrCat("pre-tokenizer '", type, "'"));
  }
  return absl::OkStatus();
}

absl::Status ReadDecoder(const JsonAt& at, DecoderRules* rules) {
  PINGTI_ASSIGN_OR_RETURN(const std::string type, JsonString(at, "type"));
  if (type == "Sequence") {
    PINGTI_ASSIGN_OR_RETURN(const auto* steps, JsonArray(at, "decoders"));
    for (size_t i = 0; i < steps->size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(const JsonAt step, JsonElement(at, "decoders", *steps, i));
      PINGTI_RETURN_IF_ERROR(ReadDecoder(step, rules));
    }
  } else if (type == "ByteLevel") {
    rules->byte_level = true;
  } else if (type == "ByteFallback") {
    rules->byte_fallback = true;
  } else if (type == "Fuse") {
    // Tokens are always joined.
  } else if (type == "Metaspace") {
    PINGTI_ASSIGN_OR_RETURN(rules->space_mark, JsonString(at, "replacement"));
    PINGTI_ASSIGN_OR_RETURN(const MetaspacePrepend prepend, ReadPrependScheme(at));
    rules->strips_leading_space = prepend != MetaspacePrepend::kNever;
  } else if (type == "Replace") {
    PINGTI_ASSIGN_OR_RETURN(const Pattern pattern, ReadPattern(at));
    PINGTI_ASSIGN_OR_RETURN(const std::string content, JsonString(at, "content"));
    if (pattern.is_regex || content != " " || pattern.text.empty()) {
      return Unsupported(at, "a Replace decoder that makes anything but spaces");
    }
    rules->space_mark = pattern.text;
  } else if (type == "Strip") {
    PINGTI_ASSIGN_OR_RETURN(const std::string content, JsonString(at, "content"));
    PINGTI_ASSIGN_OR_RETURN(const int64_t start, JsonIntOr(at, "start", 0));
    PINGTI_ASSIGN_OR_RETURN(const int64_t stop, JsonIntOr(at, "stop", 0));
    if (content != " " || start != 1 || stop != 0) {
      return Unsupported(at, "a Strip decoder but for one leading space");
    }
    rules->strips_leading_space = true;
  } else {
    return Unsupported(at, absl::StrCat("decoder '", type, "'"));
  }
  return absl::OkStatus();
}

namespace {

// TemplateProcessing's "single": special tokens around sequence A.
absl::Status ReadTemplate(const JsonAt& at, PostProcessorRules* rules) {
  PINGTI_ASSIGN_OR_RETURN(const auto* items, JsonArray(at, "single"));
  PINGTI_ASSIGN_OR_RETURN(const JsonAt specials, JsonObject(at, "special_tokens"));
  bool behind = false;
  for (size_t i = 0; i < items->size(); ++i) {
    PINGTI_ASSIGN_OR_RETURN(const JsonAt item, JsonElement(at, "single", *items, i));
    if (JsonHas(item, "Sequence")) {
      if (behind) return Unsupported(item, "a template with the text twice");
      behind = true;
      continue;
    }
    PINGTI_ASSIGN_OR_RETURN(const JsonAt token, JsonObject(item, "SpecialToken"));
    PINGTI_ASSIGN_OR_RETURN(const std::string name, JsonString(token, "id"));
    PINGTI_ASSIGN_OR_RETURN(const JsonAt special, JsonObject(specials, name));
    PINGTI_ASSIGN_OR_RETURN(const auto* ids, JsonArray(special, "ids"));
    for (const auto& id : *ids) {
      if (!id.is_int64()) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", special.path, ".ids': expected integers"));
      }
      (behind ? rules->suffix : rules->prefix).push_back(static_cast<TokenId>(id.get_int64()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadPostProcessor(const JsonAt& at, PostProcessorRules* rules) {
  PINGTI_ASSIGN_OR_RETURN(const std::string type, JsonString(at, "type"));
  if (type == "ByteLevel") return absl::OkStatus();  // offsets only
  if (type == "TemplateProcessing") return ReadTemplate(at, rules);
  if (type == "Sequence") {
    PINGTI_ASSIGN_OR_RETURN(const auto* steps, JsonArray(at, "processors"));
    for (size_t i = 0; i < steps->size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(const JsonAt step, JsonElement(at, "processors", *steps, i));
      PINGTI_RETURN_IF_ERROR(ReadPostProcessor(step, rules));
    }
    return absl::OkStatus();
  }
  return Unsupported(at, absl::StrCat("post-processor '", type, "'"));
}

}  // namespace pingti::text
