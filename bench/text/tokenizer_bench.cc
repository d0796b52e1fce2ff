// Question: how many megabytes of text a second does one core encode, and does time grow linearly?
// Baseline: Hugging Face `tokenizers` with one thread, run by compare_tokenizers.py on the same
// files in the same run. Command: see compare_tokenizers.py; alone:
//   text_tokenizer_bench TOKENIZER_JSON TEXT_FILE [--ids]
// prints the least processor seconds of several rounds, those of loading, and the number of ids; or
// with --ids the ids, one line.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/text/tokenizer.h"

namespace {

// Processor time: the machine may be busy with something else.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

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
  const double load_begin = CpuSeconds();
  const auto tokenizer = pingti::text::MakeJsonTokenizer(ReadFile(argv[1]));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  const double load_s = CpuSeconds() - load_begin;
  const std::string text = ReadFile(argv[2]);
  std::vector<pingti::text::TokenId> ids;
  double best_s = 1e9;
  for (int round = 0; round < (argc > 3 ? 1 : 5); ++round) {
    ids.clear();
    const double begin = CpuSeconds();
    const absl::Status status = (*tokenizer)->Encode(text, {}, &ids);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
    best_s = std::min(best_s, CpuSeconds() - begin);
  }
  if (argc > 3) {
    for (const auto id : ids) std::printf("%d ", id);
    std::printf("\n");
  } else {
    std::printf("%.6f %.6f %zu\n", best_s, load_s, ids.size());
  }
  return 0;
}
