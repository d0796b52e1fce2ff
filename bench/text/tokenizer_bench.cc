// Question: how many megabytes of text a second does one core encode, and does time grow linearly?
// Baselines: Hugging Face `tokenizers` and `tiktoken` with one thread, run by compare_tokenizers.py
// on the same files in the same run. Command: see compare_tokenizers.py; alone:
//   text_tokenizer_bench TOKENIZER TEXT_FILE [--ids] [--family NAME]
// TOKENIZER is a tokenizer.json or, by its ending, a qwen.tiktoken. Prints the least processor
// seconds of several rounds, those of loading, and the number of ids; or with --ids the ids, one
// line. --family takes only vocabulary and merges from tokenizer.json, as the keys of a GGUF file
// whose tokenizer.ggml.pre is NAME.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/text/tokenizer.h"

namespace {

using pingti::text::GgufTokenizerData;
using pingti::text::TokenId;
using pingti::text::Tokenizer;

// Processor time: the machine may be busy with something else.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

GgufTokenizerData GgufKeys(const std::string& tokenizer_json, const std::string& family) {
  const boost::json::value root = boost::json::parse(tokenizer_json);
  const boost::json::object& vocab = root.at("model").at("vocab").as_object();
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = family;
  data.tokens.resize(vocab.size());
  data.token_types.assign(vocab.size(), 1);
  for (const auto& token : vocab) data.tokens.at(token.value().to_number<size_t>()) = token.key();
  for (const auto& merge : root.at("model").at("merges").as_array()) {
    data.merges.push_back(std::string(merge.at(0).as_string()) + " " +
                          std::string(merge.at(1).as_string()));
  }
  for (const auto& added : root.at("added_tokens").as_array()) {
    data.token_types.at(added.at("id").to_number<size_t>()) = 3;
  }
  return data;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& path,
                                                const std::string& family) {
  const std::string file = ReadFile(path);
  if (path.ends_with(".tiktoken")) return pingti::text::MakeQwenTokenizer(file);
  if (!family.empty()) return pingti::text::MakeGgufTokenizer(GgufKeys(file, family));
  return pingti::text::MakeJsonTokenizer(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER TEXT_FILE [--ids] [--family NAME]\n", argv[0]);
    return 2;
  }
  bool print_ids = false;
  std::string family;
  for (int i = 3; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--ids") print_ids = true;
    if (argument == "--family" && i + 1 < argc) family = argv[++i];
  }
  const double load_begin = CpuSeconds();
  const auto tokenizer = Load(argv[1], family);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  const double load_s = CpuSeconds() - load_begin;
  const std::string text = ReadFile(argv[2]);
  std::vector<TokenId> ids;
  double best_s = 1e9;
  for (int round = 0; round < (print_ids ? 1 : 5); ++round) {
    ids.clear();
    const double begin = CpuSeconds();
    const absl::Status status = (*tokenizer)->Encode(text, {}, &ids);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 1;
    }
    best_s = std::min(best_s, CpuSeconds() - begin);
  }
  if (print_ids) {
    for (const auto id : ids) std::printf("%d ", id);
    std::printf("\n");
  } else {
    std::printf("%.6f %.6f %zu\n", best_s, load_s, ids.size());
  }
  return 0;
}
