// See prompts.h.
#include "tools/bench/prompts.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

// Short words that tokenizers have whole, so that a word is close to a token.
constexpr const char* kWords[] = {
    "time",    "people",  "water",   "house",   "light",   "story",   "night",   "world",
    "place",   "green",   "river",   "music",   "paper",   "table",   "stone",   "early",
    "small",   "large",   "young",   "white",   "black",   "plant",   "money",   "point",
    "group",   "power",   "heart",   "sound",   "field",   "south",   "north",   "horse",
    "voice",   "space",   "earth",   "glass",   "ocean",   "train",   "bread",   "clock",
    "doctor",  "garden",  "letter",  "mother",  "father",  "winter",  "summer",  "market",
    "street",  "window",  "morning", "evening", "country", "picture", "teacher", "science",
    "history", "village", "kitchen", "machine", "and",     "with",    "from",    "under",
    "over",    "near"};

absl::StatusOr<DatasetEntry> ReadEntry(const std::string& line, const std::string& where) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    return absl::InvalidArgumentError(Concat(where, ": expected a JSON object"));
  }
  DatasetEntry entry;
  for (const auto& member : value.get_object()) {
    if (member.key() == "prompt" && member.value().is_string()) {
      entry.prompt = std::string(member.value().get_string());
    } else if (member.key() == "messages" && member.value().is_array()) {
      entry.messages_json = json::serialize(member.value());
    } else if (member.key() == "max_tokens" && member.value().is_int64() &&
               member.value().get_int64() > 0 && member.value().get_int64() <= INT32_MAX) {
      entry.max_tokens = static_cast<int>(member.value().get_int64());
    } else {
      return absl::InvalidArgumentError(
          Concat(where, ": '", std::string(member.key()),
                 "': expected \"prompt\" (text), \"messages\" (array) or \"max_tokens\" (count)"));
    }
  }
  if (entry.prompt.empty() == entry.messages_json.empty()) {
    return absl::InvalidArgumentError(
        Concat(where, ": expected exactly one of \"prompt\" and \"messages\""));
  }
  return entry;
}

}  // namespace

absl::StatusOr<std::vector<DatasetEntry>> ReadDataset(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(Concat("dataset '", path, "' cannot be read"));
  std::vector<DatasetEntry> entries;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    absl::StatusOr<DatasetEntry> entry = ReadEntry(line, Concat(path, ", line ", number));
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  if (file.bad()) return absl::NotFoundError(Concat("dataset '", path, "' cannot be read"));
  if (entries.empty()) return absl::InvalidArgumentError(Concat("dataset '", path, "' is empty"));
  return entries;
}

PromptSource::PromptSource(const BenchOptions& options, std::string model, double words_per_token,
                           std::vector<DatasetEntry> dataset)
    : options_(options),
      model_(std::move(model)),
      words_per_token_(words_per_token),
      dataset_(std::move(dataset)),
      random_(options.seed) {
  const int words = static_cast<int>(std::lround(options.shared_prefix * words_per_token));
  if (words > 0) prefix_ = MakeWords(words, &random_) + " ";
}

std::string PromptSource::MakeWords(int count, std::mt19937_64* random) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    if (i > 0) out += ' ';
    out += kWords[(*random)() % std::size(kWords)];
  }
  return out;
}

int PromptSource::Draw(const LengthRange& range) {
  return range.least + static_cast<int>(random_() % (range.most - range.least + 1ull));
}

BenchRequest PromptSource::Next() {
  BenchRequest request;
  if (!dataset_.empty()) {
    const DatasetEntry& entry = dataset_[next_entry_++ % dataset_.size()];
    request.max_tokens = entry.max_tokens > 0 ? entry.max_tokens : Draw(options_.output);
    request.body = BodyOf(entry.prompt, entry.messages_json, request.max_tokens);
    return request;
  }
  const int tokens = std::max(1, Draw(options_.input) - options_.shared_prefix);
  const int words = std::max(1, static_cast<int>(std::lround(tokens * words_per_token_)));
  request.max_tokens = Draw(options_.output);
  request.body = BodyOf(prefix_ + MakeWords(words, &random_), "", request.max_tokens);
  return request;
}

std::string PromptSource::BodyOf(const std::string& prompt, const std::string& messages_json,
                                 int max_tokens) {
  json::object body{{"model", model_},
                    {"stream", true},
                    {"stream_options", {{"include_usage", true}}},
                    {"max_tokens", max_tokens}};
  if (options_.ignore_eos) body["ignore_eos"] = true;
  if (options_.temperature) body["temperature"] = *options_.temperature;
  if (options_.endpoint == BenchOptions::Endpoint::kCompletions) {
    body["prompt"] = prompt;
  } else if (messages_json.empty()) {
    body["messages"] = json::array{json::object{{"role", "user"}, {"content", prompt}}};
  } else {
    body["messages"] = json::parse(messages_json);
  }
  return json::serialize(body);
}

}  // namespace pingti::tools
