// Cuts normalized text into the words that BPE works on. Steps mirror the "pre_tokenizer" of a
// Hugging Face tokenizer.json; each step cuts (or rewrites) every word the step before left.
// A PreTokenizer is immutable after the last Add and then thread-safe; words of one call live in a
// WordList.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/regex.h"

namespace pingti::text {

// What becomes of the matches of a pattern (tokenizers' SplitDelimiterBehavior).
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Confined to one call of Tokenizer::Encode.
struct WordList {
  std::vector<std::string_view> words;
  bool starts_text = true;  // words[0] starts the text that was given to Encode

  // Buffers of the steps.
  std::vector<std::string_view> next;
  std::vector<Regex::Span> matches;
  std::deque<std::string> rewritten;  // owns words that are no longer parts of the input
  RegexScratch regex;
};

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Reads list->words, appends to list->next.
  virtual absl::Status Apply(WordList* list) const = 0;
};

class PreTokenizer {
 public:
  void Add(std::unique_ptr<PreTokenizerStep> step) { steps_.push_back(std::move(step)); }
  // Errors: ResourceExhausted from a pattern (see Regex::FindAll).
  absl::Status Apply(WordList* list) const;

 private:
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
};

// `invert`: the text between matches is the delimiter.
std::unique_ptr<PreTokenizerStep> SplitByRegex(Regex regex, SplitBehavior behavior, bool invert);
// Delimiters are single characters of a class.
std::unique_ptr<PreTokenizerStep> SplitByChar(bool (*is_delimiter)(char32_t),
                                              SplitBehavior behavior);
// Every word that does not start with a space gets one (ByteLevel's add_prefix_space).
std::unique_ptr<PreTokenizerStep> PrefixSpace();

enum class MetaspacePrepend { kAlways, kFirst, kNever };
// Spaces become `mark`, which is put in front as `prepend` says; with `split` words start at marks.
std::unique_ptr<PreTokenizerStep> Metaspace(std::string mark, MetaspacePrepend prepend, bool split);

}  // namespace pingti::text
