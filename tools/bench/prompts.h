// The requests of a run, as HTTP bodies: made-up words of the lengths asked for, or a dataset's
// lines.
//
// Bodies are made before the clock starts, so that making them costs the measurement nothing.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/bench/options.h"

namespace pingti::tools {

struct BenchRequest {
  std::string body;
  int max_tokens = 0;
};

// One line of a dataset: {"prompt": "..."} or {"messages": [...]}, with "max_tokens" if it should
// not be --output-tokens.
struct DatasetEntry {
  std::string prompt;         // empty: messages
  std::string messages_json;  // empty: prompt
  int max_tokens = 0;         // 0: drawn
};
// Errors: NotFound, InvalidArgument naming the line.
absl::StatusOr<std::vector<DatasetEntry>> ReadDataset(const std::string& path);

// Thread-compatible. The same options give the same requests.
class PromptSource {
 public:
  // `words_per_token`: how many of MakeWords' words make a token of this model. `model` is what the
  // bodies name.
  PromptSource(const BenchOptions& options, std::string model, double words_per_token,
               std::vector<DatasetEntry> dataset);

  BenchRequest Next();

  // Common English words with spaces between.
  static std::string MakeWords(int count, std::mt19937_64* random);

 private:
  int Draw(const LengthRange& range);
  std::string BodyOf(const std::string& prompt, const std::string& messages_json, int max_tokens);

  const BenchOptions options_;
  const std::string model_;
  const double words_per_token_;
  const std::vector<DatasetEntry> dataset_;
  std::mt19937_64 random_;
  std::string prefix_;
  size_t next_entry_ = 0;
};

}  // namespace pingti::tools
