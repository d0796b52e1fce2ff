// What a tokenizer does to text before it looks for pieces: Unicode normal forms, replacements,
// prefixes. Steps mirror the "normalizer" of a Hugging Face tokenizer.json.
// Immutable after the last Add and then thread-safe. Every step is linear in its input.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pingti::text {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

class Normalizer {
 public:
  struct Input {
    std::string text;
    bool starts_text = true;  // false behind bytes that were not UTF-8: nothing is prepended there
  };
  using Step = std::function<absl::Status(Input*)>;

  void Add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }

  // Errors: ResourceExhausted from a pattern (see Regex::FindAll).
  absl::StatusOr<std::string> Apply(std::string_view text, bool starts_text) const;

 private:
  std::vector<Step> steps_;
};

Normalizer::Step UnicodeFormStep(UnicodeForm form);
Normalizer::Step LowercaseStep();
Normalizer::Step PrependStep(std::string prefix);
Normalizer::Step ReplaceStep(std::string from, std::string to);
absl::StatusOr<Normalizer::Step> RegexReplaceStep(std::string_view pattern, std::string to);
Normalizer::Step StripStep(bool left, bool right);

// `text` in a Unicode normal form. Linear also in runs of combining marks (utf8proc's own ordering
// of marks is quadratic). Source: Unicode Standard Annex 15.
std::string NormalizeUnicode(std::string_view text, UnicodeForm form);

}  // namespace pingti::text
