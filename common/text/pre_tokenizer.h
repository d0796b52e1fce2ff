// Cuts normalized text into the words that BPE works on. Steps mirror the "pre_tokenizer" of a
// Hugging Face tokenizer.json; each step cuts (or rewrites) every word the step before sends it.
//
// A word goes through all steps to the end before the next one is cut: a megabyte of digits, each a
// word of its own, takes no more memory than one digit. A PreTokenizer is immutable after the last
// Add and then thread-safe. Read next: pipeline_tokenizer.h, which feeds words to the BPE.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/text/regex.h"

namespace pingti::text {

// What becomes of the matches of a pattern (tokenizers' SplitDelimiterBehavior).
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Takes the finished words in order. A word is valid during the call only.
using WordSink = absl::FunctionRef<void(std::string_view)>;

struct Word {
  std::string_view text;
  bool starts_text;  // nothing of the text that was given to Encode stands before it
};

class PreTokenizerStep;

// Where a step sends its words: the next step, or the sink behind the last one.
class WordPipe {
 public:
  absl::Status Send(Word word) const;
  RegexScratch* regex() const { return regex_; }

 private:
  friend class PreTokenizer;
  using Steps = std::vector<std::unique_ptr<PreTokenizerStep>>;
  WordPipe(const Steps* steps, size_t step, RegexScratch* regex, const WordSink* sink)
      : steps_(steps), step_(step), regex_(regex), sink_(sink) {}

  const Steps* steps_;
  size_t step_;  // the one that receives
  RegexScratch* regex_;
  const WordSink* sink_;
};

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  // Errors: ResourceExhausted from a pattern (see Regex::FindAll); those of `out`.
  virtual absl::Status Apply(Word word, const WordPipe& out) const = 0;
};

class PreTokenizer {
 public:
  void Add(std::unique_ptr<PreTokenizerStep> step) { steps_.push_back(std::move(step)); }
  // Errors: ResourceExhausted from a pattern (see Regex::FindAll).
  absl::Status Apply(Word text, RegexScratch* regex, WordSink sink) const;

 private:
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
};

// `invert`: the text between matches is the delimiter.
std::unique_ptr<PreTokenizerStep> SplitByRegex(Regex regex, SplitBehavior behavior, bool invert);
// Delimiters are single characters of a class.
std::unique_ptr<PreTokenizerStep> SplitByChar(bool (*is_delimiter)(char32_t),
                                              SplitBehavior behavior);
// Delimiters are `run` bytes of a class that follow each other, from the left. Words may then end
// within a character: for steps behind ByteLevel, which sees bytes.
std::unique_ptr<PreTokenizerStep> SplitByBytes(bool (*is_delimiter)(unsigned char), size_t run,
                                               SplitBehavior behavior);
// Those that GPT-2's spelling of bytes (byte_alphabet.h) makes a number: digits, and the bytes that
// are superscripts and fractions in Latin-1.
bool IsNumericByte(unsigned char byte);
bool IsAsciiDigit(unsigned char byte);
// Every word that does not start with a space gets one (ByteLevel's add_prefix_space).
std::unique_ptr<PreTokenizerStep> PrefixSpace();

enum class MetaspacePrepend { kAlways, kFirst, kNever };
// Spaces become `mark`, which is put in front as `prepend` says; with `split` words start at marks.
std::unique_ptr<PreTokenizerStep> Metaspace(std::string mark, MetaspacePrepend prepend, bool split);

}  // namespace pingti::text
