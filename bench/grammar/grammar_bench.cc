// Question: what does a mask cost per token once a grammar is warm, and how long does a schema take
// to compile? Targets: < 50 us a token with a vocabulary of 150,000; compilation < 50 ms at p95.
// Baseline: the cold mask, the first time a text leads there, in the same run.
// Command (any qwen.tiktoken, for instance of the PyPI package dashscope):
//   python bench/grammar/schemas.py > /tmp/schemas.json
//   grammar_bench qwen.tiktoken /tmp/schemas.json
// Each schema's texts are drawn at random from its own masks, fixed seeds. Warm: other texts of
// that schema were read before.
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/grammar/grammar_source.h"
#include "common/grammar/matcher.h"
#include "common/text/tokenizer.h"

namespace {

using namespace pingti;           // NOLINT: a bench has no namespace of its own
using namespace pingti::grammar;  // NOLINT
using Time = std::chrono::steady_clock;

constexpr int kWarmTexts = 20;
constexpr int kTimedTexts = 5;
constexpr int kMostTokens = 300;

std::string ReadFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double Microseconds(Time::time_point from) {
  return std::chrono::duration<double, std::micro>(Time::now() - from).count();
}

double Percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

std::shared_ptr<const Vocabulary> LoadVocabulary(const char* path) {
  const auto tokenizer = text::MakeQwenTokenizer(ReadFile(path));
  if (!tokenizer.ok()) return nullptr;
  const int32_t size = (*tokenizer)->vocab_size();
  std::vector<std::string> tokens(size);
  for (int32_t id = 0; id < size; ++id) {
    if (!(*tokenizer)->IsSpecial(id)) tokens[id] = (*tokenizer)->TokenBytes(id);
  }
  const int32_t end = *(*tokenizer)->FindToken("<|im_end|>");
  return std::make_shared<const Vocabulary>(std::move(tokens), std::vector<int32_t>{end}, size);
}

// Reads one random text; adds each token's time, mask and reading together, to `times`.
bool ReadText(const std::shared_ptr<CompiledGrammar>& compiled, uint64_t seed,
              std::vector<double>* times) {
  Matcher matcher(compiled);
  std::vector<uint32_t> mask(compiled->vocabulary().mask_words());
  std::vector<int32_t> allowed;
  for (int i = 0; i < kMostTokens; ++i) {
    const Time::time_point begin = Time::now();
    if (!matcher.FillMask(mask).ok()) return false;
    const double filled = Microseconds(begin);
    allowed.clear();
    for (size_t word = 0; word < mask.size(); ++word) {
      for (uint32_t bits = mask[word]; bits != 0; bits &= bits - 1) {
        allowed.push_back(static_cast<int32_t>(word * 32) + __builtin_ctz(bits));
      }
    }
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const int32_t token = allowed[(seed >> 33) % allowed.size()];
    const Time::time_point accepting = Time::now();
    if (!matcher.Accept(token).ok()) return false;
    times->push_back(filled + Microseconds(accepting));
    if (compiled->vocabulary().is_end_token(token)) break;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: grammar_bench TIKTOKEN SCHEMAS\n"), 2;
  const auto vocabulary = LoadVocabulary(argv[1]);
  if (vocabulary == nullptr) return std::fprintf(stderr, "not a tokenizer\n"), 1;
  const boost::json::value schemas = boost::json::parse(ReadFile(argv[2]));
  std::vector<double> compile_ms;
  std::vector<double> warm_ms;
  std::vector<double> cold_us;
  std::vector<double> mask_us;
  std::printf("%-18s %10s %10s %10s %10s %10s\n", "schema", "compile ms", "warm ms", "cold us",
              "mask us", "p99 us");
  for (const boost::json::value& item : schemas.as_array()) {
    const std::string name(item.at(0).as_string());
    const Time::time_point begin = Time::now();
    auto automaton =
        CompileGrammar({GrammarSource::Kind::kJsonSchema, boost::json::serialize(item.at(1))}, {});
    compile_ms.push_back(Microseconds(begin) / 1000);
    if (!automaton.ok()) {
      return std::fprintf(stderr, "%s: %s\n", name.c_str(), automaton.status().ToString().c_str()),
             1;
    }
    auto compiled = std::make_shared<CompiledGrammar>(*std::move(automaton), vocabulary);
    const Time::time_point warming = Time::now();
    compiled->Warm(*RealClock(), RealClock()->Now() + std::chrono::milliseconds(50));
    warm_ms.push_back(Microseconds(warming) / 1000);
    std::vector<double> cold;
    std::vector<double> warm;
    bool ok = true;
    for (int i = 0; i < kWarmTexts; ++i) ok = ok && ReadText(compiled, 1000 + i, &cold);
    for (int i = 0; i < kTimedTexts; ++i) ok = ok && ReadText(compiled, 1 + i, &warm);
    if (!ok) return std::fprintf(stderr, "%s: no token was allowed\n", name.c_str()), 1;
    std::printf("%-18s %10.2f %10.2f %10.2f %10.2f %10.2f\n", name.c_str(), compile_ms.back(),
                warm_ms.back(), Mean(cold), Mean(warm), Percentile(warm, 0.99));
    cold_us.insert(cold_us.end(), cold.begin(), cold.end());
    mask_us.insert(mask_us.end(), warm.begin(), warm.end());
  }
  std::printf("vocabulary %d, schemas %zu, tokens %zu\n", vocabulary->num_bits(), compile_ms.size(),
              mask_us.size());
  std::printf("compile ms        p50 %.2f  p95 %.2f  max %.2f\n", Percentile(compile_ms, 0.5),
              Percentile(compile_ms, 0.95), Percentile(compile_ms, 1));
  std::printf("warming ms        p50 %.2f  p95 %.2f\n", Percentile(warm_ms, 0.5),
              Percentile(warm_ms, 0.95));
  std::printf("first texts, us   mean %.2f  p99 %.2f  max %.2f\n", Mean(cold_us),
              Percentile(cold_us, 0.99), Percentile(cold_us, 1));
  std::printf("mask us a token   mean %.2f  p50 %.2f  p99 %.2f  max %.2f\n", Mean(mask_us),
              Percentile(mask_us, 0.5), Percentile(mask_us, 0.99), Percentile(mask_us, 1));
  return 0;
}
