// What the grammar fuzzers share: a source compiles or is refused within its limits, and where the
// masks lead every token is taken and a text that ends is one that may.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {

inline void Require(bool condition) {
  if (!condition) __builtin_trap();
}

inline GrammarLimits FuzzLimits() {
  GrammarLimits limits;
  limits.max_exprs = 4'000;
  limits.max_states = 4'000;
  return limits;
}

// A text of at most `most` tokens, drawn from the masks; nothing when it did not end by then or the
// matcher refused to go on.
inline std::string Walk(const std::shared_ptr<CompiledGrammar>& compiled, uint64_t seed, int most,
                        bool* ended) {
  Matcher matcher(compiled);
  std::vector<uint32_t> mask(compiled->vocabulary().mask_words());
  std::string text;
  *ended = false;
  for (int i = 0; i < most; ++i) {
    if (!matcher.FillMask(mask).ok()) return text;
    std::vector<int32_t> allowed;
    for (int32_t t = 0; t < compiled->vocabulary().num_bits(); ++t) {
      if (IsSet(mask, t)) allowed.push_back(t);
    }
    Require(!allowed.empty());
    Require(IsSet(mask, kTestEnd) == matcher.can_end());
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    // Ends soon, so that many walks are whole texts.
    const int32_t token =
        i > most / 2 && matcher.can_end() ? kTestEnd : allowed[(seed >> 33) % allowed.size()];
    const absl::Status status = matcher.Accept(token);
    Require(status.ok() || absl::IsResourceExhausted(status));
    if (!status.ok()) return text;
    if (token == kTestEnd) {
      *ended = true;
      return text;
    }
    text += compiled->vocabulary().bytes(token);
  }
  return text;
}

// Compiles a fuzzer's input; null when it is refused.
inline std::shared_ptr<CompiledGrammar> CompileInput(GrammarSource::Kind kind, std::string text) {
  static const auto* vocabulary = new std::shared_ptr<const Vocabulary>(
      ByteVocabulary({"{\"", "\": ", "true", "null", "12", "ab", "aab", ", ", "é", "日"}));
  const auto begin = std::chrono::steady_clock::now();
  const auto compiled = CompileForTest(kind, std::move(text), FuzzLimits(), *vocabulary);
  Require(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
  if (compiled.ok()) return *compiled;
  Require(!compiled.status().message().empty());
  return nullptr;
}

}  // namespace pingti::grammar
