// Small vocabularies for grammar tests.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/grammar/grammar_source.h"
#include "common/grammar/matcher.h"

namespace pingti::grammar {

inline constexpr int32_t kTestEnd = 0;

// Token 0 ends a text; 1 to 256 are the bytes; then `words`.
inline std::shared_ptr<const Vocabulary> ByteVocabulary(std::vector<std::string> words = {}) {
  std::vector<std::string> tokens{""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (std::string& word : words) tokens.push_back(std::move(word));
  const int32_t size = static_cast<int32_t>(tokens.size());
  return std::make_shared<Vocabulary>(std::move(tokens), std::vector<int32_t>{kTestEnd}, size);
}

// As ByteVocabulary, with about as many words of up to eight letters as a real model's.
inline std::shared_ptr<const Vocabulary> LargeVocabulary() {
  constexpr int kWords = 100'000;
  std::vector<std::string> words;
  std::set<std::string> seen;
  uint64_t random = 1;
  while (words.size() < kWords) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    std::string word;
    // Letters as unequally frequent as in a language, so that words share beginnings.
    for (uint64_t bits = random >> 8; word.size() < 2 + (random >> 61); bits /= 64) {
      word += static_cast<char>('a' + (bits % 8) * (bits / 8 % 8) % 26);
    }
    if (seen.insert(word).second) words.push_back(std::move(word));
  }
  return ByteVocabulary(std::move(words));
}

inline bool IsSet(const std::vector<uint32_t>& mask, int32_t token) {
  return (mask[token >> 5] >> (token & 31) & 1) != 0;
}

// Reads `text` byte by byte; whether it is all read and may end there.
inline bool Matches(const std::shared_ptr<CompiledGrammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  for (const char c : text) {
    if (!matcher.Accept(1 + static_cast<uint8_t>(c)).ok()) return false;
  }
  return matcher.can_end();
}

inline absl::StatusOr<std::shared_ptr<CompiledGrammar>> CompileForTest(
    GrammarSource::Kind kind, std::string text, const GrammarLimits& limits = {},
    std::shared_ptr<const Vocabulary> vocabulary = nullptr) {
  auto automaton = CompileGrammar({kind, std::move(text)}, limits);
  if (!automaton.ok()) return automaton.status();
  if (vocabulary == nullptr) vocabulary = ByteVocabulary();
  return std::make_shared<CompiledGrammar>(*std::move(automaton), std::move(vocabulary));
}

}  // namespace pingti::grammar
