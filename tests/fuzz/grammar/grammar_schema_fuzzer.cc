// Any bytes as a JSON schema: compiled or refused in bounded time; what the masks spell is JSON.
#include <boost/json.hpp>
#include <string>

#include "tests/fuzz/grammar/grammar_walk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pingti::grammar;  // NOLINT: a fuzzer has no namespace of its own
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto compiled = CompileInput(GrammarSource::Kind::kJsonSchema, text);
  if (compiled == nullptr) return 0;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    bool ended = false;
    const std::string walked = Walk(compiled, seed, 60, &ended);
    if (!ended) continue;
    Require(Matches(compiled, walked));
    boost::json::error_code error;
    boost::json::parse_options options;
    options.max_depth = 1000;
    boost::json::parse(walked, error, {}, options);
    // A number beyond a double's range is JSON as well.
    Require(!error || error == boost::json::error::exponent_overflow);
  }
  return 0;
}
