#include "worker/weights/shard_names.h"

#include <boost/json.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/json_fields.h"
#include "worker/weights/text_file.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr int kMaxParts = 99999;  // what five digits can say

// "x-00002-of-00005.ext": x, 2, 5.
struct SeriesName {
  std::string stem;
  int part = 0;
  int count = 0;
};

std::optional<SeriesName> ParseSeries(std::string_view name, std::string_view extension) {
  constexpr std::string_view kPattern = "-00000-of-00000";
  if (!name.ends_with(extension)) return std::nullopt;
  name.remove_suffix(extension.size());
  if (name.size() <= kPattern.size()) return std::nullopt;
  const std::string_view series = name.substr(name.size() - kPattern.size());
  SeriesName parsed;
  parsed.stem = std::string(name.substr(0, name.size() - kPattern.size()));
  if (series[0] != '-' || series.substr(6, 4) != "-of-") return std::nullopt;
  for (const auto& [from, out] :
       {std::pair{size_t{1}, &parsed.part}, {size_t{10}, &parsed.count}}) {
    const char* begin = series.data() + from;
    if (std::from_chars(begin, begin + 5, *out).ptr != begin + 5) return std::nullopt;
  }
  return parsed;
}

std::string NameOfPart(const SeriesName& series, int part, std::string_view extension) {
  char numbers[32];
  std::snprintf(numbers, sizeof(numbers), "-%05d-of-%05d", part, series.count);
  return Concat(series.stem, numbers, extension);
}

absl::StatusOr<std::set<std::string>> NamesOfIndex(const std::string& path,
                                                   std::string_view index) {
  const absl::StatusOr<json::value> root = ParseJsonObject(index);
  if (!root.ok()) return InFile(path, root.status());
  const JsonFields fields(root->get_object(), "");
  const absl::StatusOr<const json::object*> map = fields.Object("weight_map");
  if (!map.ok()) return InFile(path, map.status());
  if (*map == nullptr || (*map)->empty()) {
    return absl::InvalidArgumentError(Concat(path, ": 'weight_map' is missing or empty"));
  }
  std::set<std::string> names;
  for (const auto& item : **map) {
    const json::string* name = item.value().if_string();
    if (name == nullptr || name->find('/') != json::string::npos || name->empty()) {
      return absl::InvalidArgumentError(Concat(path, ": 'weight_map' holds ",
                                               json::serialize(item.value()),
                                               "; expected the name of a file beside it"));
    }
    names.emplace(name->data(), name->size());
  }
  return names;
}

std::set<std::string> FilesThatEndIn(const std::string& directory, std::string_view end) {
  std::set<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(end)) names.insert(name);
  }
  return names;
}

// Without an index: the files of one series, or the only file.
absl::StatusOr<std::set<std::string>> NamesWithoutIndex(const std::string& directory) {
  constexpr std::string_view kExtension = ".safetensors";
  const std::set<std::string> found = FilesThatEndIn(directory, kExtension);
  if (found.contains("model.safetensors")) return std::set<std::string>{"model.safetensors"};
  if (found.empty()) {
    if (!FilesThatEndIn(directory, ".bin").empty() || !FilesThatEndIn(directory, ".pth").empty()) {
      return absl::UnimplementedError(
          Concat(directory,
                 ": weights in pickled files (pytorch_model.bin), which can run code and are not "
                 "read; convert them with transformers: "
                 "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)"));
    }
    return absl::NotFoundError(Concat(directory,
                                      ": no model.safetensors, nor any other "
                                      ".safetensors file"));
  }
  const std::optional<SeriesName> series = ParseSeries(*found.begin(), kExtension);
  if (found.size() == 1 && !series.has_value()) return found;
  if (!series.has_value() || series->count != static_cast<int>(found.size())) {
    return absl::InvalidArgumentError(Concat(
        directory, ": ", found.size(), " .safetensors files, '", *found.begin(),
        "' the first, and no model.safetensors.index.json; expected all of one series that ends "
        "in -00001-of-0000N"));
  }
  for (int part = 1; part <= series->count; ++part) {
    const std::string name = NameOfPart(*series, part, kExtension);
    if (!found.contains(name)) {
      return absl::NotFoundError(Concat(directory, ": '", name, "' is missing"));
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<std::set<std::string>> SafetensorsNames(const std::string& directory) {
  const std::string index_path = directory + "/model.safetensors.index.json";
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> index, ReadOptionalFile(index_path));
  return index.has_value() ? NamesOfIndex(index_path, *index) : NamesWithoutIndex(directory);
}

absl::StatusOr<std::vector<std::string>> GgufParts(const std::string& path) {
  constexpr std::string_view kExtension = ".gguf";
  const std::optional<SeriesName> series = ParseSeries(path, kExtension);
  if (!series.has_value()) return std::vector<std::string>{path};
  if (series->part < 1 || series->part > series->count || series->count > kMaxParts) {
    return absl::InvalidArgumentError(
        Concat(path, ": part ", series->part, " of ", series->count, "; expected 1 to the count"));
  }
  std::vector<std::string> parts;
  for (int part = 1; part <= series->count; ++part) {
    parts.push_back(NameOfPart(*series, part, kExtension));
  }
  return parts;
}

}  // namespace pingti::worker
