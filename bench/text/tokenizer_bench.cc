// Question: how many megabytes of text a second does one core encode, and does time grow linearly?
// Baseline: Hugging Face `tokenizers` with one thread, run by compare_tokenizers.py on the same
// files in the same run. Command: see compare_tokenizers.py; alone:
//   text_tokenizer_bench TOKENIZER_JSON TEXT_FILE [--ids]
// prints the best seconds of several rounds, or with --ids the ids, one line.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/text/tokenizer.h"

namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER_JSON TEXT_FILE [--ids]\n", argv[0]);
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  const auto load_begin = Clock::now();
  const auto tokenizer = pingti::text::MakeJsonTokenizer(ReadFile(argv[1]));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  const double load_s = std::chrono::duration<double>(Clock::now() - load_begin).count();
  const std::string text = ReadFile(argv[2]);
  std::vector<pingti::text::TokenId> ids;
  double best_s = 1e9;
  for (int round = 0; round < (argc > 3 ? 1 : 5); ++round) {
    ids.clear();
    const auto begin = Clock::now();
    const absl::Status status = (*tokenizer)->Encode(text, {}, &ids);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
    best_s = std::min(best_s, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  if (argc > 3) {
    for (const auto id : ids) std::printf("%d ", id);
    std::printf("\n");
  } else {
    std::printf("%.6f %.6f %zu\n", best_s, load_s, ids.size());
  }
  return 0;
}
