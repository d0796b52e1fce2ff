// Pre-tokenizer patterns on PCRE2 with JIT, read as Hugging Face's engine (Oniguruma) reads them.
//
// A Regex is immutable and thread-safe; what one search changes lives in a RegexScratch, one per
// call of Tokenizer::Encode. Differences that matter are translated: \s and \S are the Unicode
// White_Space property (PCRE2's own \s also takes U+180E), \d is Nd, \w takes every number.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace pingti::text {

struct RegexDeleter {
  void operator()(pcre2_real_code_8* code) const;
  void operator()(pcre2_real_match_data_8* data) const;
  void operator()(pcre2_real_match_context_8* context) const;
};

// Confined to one call.
class RegexScratch {
 public:
  RegexScratch();

 private:
  friend class Regex;
  std::unique_ptr<pcre2_real_match_data_8, RegexDeleter> data_;
  std::unique_ptr<pcre2_real_match_context_8, RegexDeleter> context_;
};

class Regex {
 public:
  struct Span {
    size_t begin, end;  // bytes
  };
  using VisitMatch = absl::FunctionRef<absl::Status(Span)>;

  // kInterpreted gives the same matches, slower: what is left where the system denies executable
  // memory, and what tests ask for by name.
  enum class Engine { kCompiled, kInterpreted };

  // Errors: InvalidArgument with PCRE2's message and the offset in `pattern`.
  static absl::StatusOr<Regex> Compile(std::string_view pattern, Engine engine = Engine::kCompiled);

  // Gives the non-empty matches in `text` (well-formed UTF-8) to `visit`, left to right, until it
  // returns an error. `visit` may search with the same scratch.
  // Errors: ResourceExhausted when one match needs more than the step limit; those of `visit`.
  absl::Status FindAll(std::string_view text, RegexScratch* scratch, VisitMatch visit) const;

 private:
  std::string pattern_;
  std::unique_ptr<pcre2_real_code_8, RegexDeleter> code_;
  bool jit_ = false;
};

// `text` with every character that means something to a pattern escaped.
std::string EscapeForRegex(std::string_view text);

}  // namespace pingti::text
