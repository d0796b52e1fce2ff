// Any bytes as the source of tool calls: compiled or refused in bounded time; what the masks lead
// to is taken, and matches.
#include <string>

#include "tests/fuzz/grammar/grammar_walk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pingti::grammar;  // NOLINT: a fuzzer has no namespace of its own
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto compiled = CompileInput(GrammarSource::Kind::kToolCalls, text);
  if (compiled == nullptr) return 0;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    bool ended = false;
    const std::string walked = Walk(compiled, seed, 60, &ended);
    if (ended) Require(Matches(compiled, walked));
  }
  return 0;
}
