#include "worker/model/open_checkpoint.h"

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/declared_tensors.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/families/family.h"
#include "worker/model/fused_experts.h"
#include "worker/weights/gguf_file.h"
#include "worker/weights/gguf_text.h"
#include "worker/weights/hf_directory.h"
#include "worker/weights/json_fields.h"
#include "worker/weights/shard_names.h"

namespace pingti::worker {
namespace {

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", std::string(status.message())));
}

// The last part of a path.
std::string NameOf(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// Matrices of all experts in one tensor are the rows of one; a matrix of one row may have lost a
// dimension.
void ShapeAsMatrices(const DecoderSpec& spec, std::vector<TensorView>* tensors) {
  std::set<std::string> single_rows;
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.experts.has_value() || layer.experts->shared_gate.empty()) continue;
    single_rows.insert(layer.experts->shared_gate + ".weight");
  }
  for (TensorView& tensor : *tensors) {
    std::vector<int64_t>& shape = tensor.shape;
    if (shape.size() == 3) shape = {shape[0] * shape[1], shape[2]};
    // A bias per expert.
    if (shape.size() == 2 && tensor.name.ends_with("_exps.bias")) shape = {shape[0] * shape[1]};
    if (shape.size() == 1 && single_rows.count(tensor.name) != 0) shape = {1, shape[0]};
  }
}

absl::StatusOr<Checkpoint::Parts> DescribeGguf(const GgufFile& file) {
  PINGTI_ASSIGN_OR_RETURN(const Family* family, FindGgufFamily(file));
  Checkpoint::Parts parts;
  parts.format = "gguf";
  PINGTI_ASSIGN_OR_RETURN(parts.spec, family->from_gguf(file));
  PINGTI_ASSIGN_OR_RETURN(parts.text, ReadGgufText(file));
  PINGTI_ASSIGN_OR_RETURN(const auto name, file.String("general.name"));
  parts.display_name = std::string(name.value_or(""));
  parts.tensors = file.tensors();
  ShapeAsMatrices(parts.spec, &parts.tensors);
  return parts;
}

// That the file is the part of so many that its name says it is.
absl::Status CheckPart(const GgufFile& file, size_t part, size_t count) {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> number, file.Int("split.no"));
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> parts, file.Int("split.count"));
  if (number.value_or(0) == static_cast<int64_t>(part) &&
      parts.value_or(1) == static_cast<int64_t>(count)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(Concat("split.no is ", number.value_or(0), " and split.count ",
                                           parts.value_or(1), "; expected ", part, " and ", count,
                                           " by the file's name"));
}

// The first part has the keys, each part its tensors.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGguf(const std::string& path) {
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> paths, GgufParts(path));
  std::vector<std::unique_ptr<MappedFile>> files;
  std::optional<GgufFile> whole;
  for (const std::string& part_path : paths) {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, MappedFile::Open(part_path));
    absl::StatusOr<GgufFile> part = GgufFile::Parse(mapped->bytes());
    if (!part.ok()) return InFile(part_path, part.status());
    absl::Status status = CheckPart(*part, files.size(), paths.size());
    if (status.ok() && whole.has_value()) status = whole->AddPart(*part);
    if (!status.ok()) return InFile(part_path, status);
    if (!whole.has_value()) whole = *std::move(part);
    files.push_back(std::move(mapped));
  }
  absl::StatusOr<Checkpoint::Parts> parts = DescribeGguf(*whole);
  if (!parts.ok()) return InFile(path, parts.status());
  parts->path = path;
  if (parts->display_name.empty()) parts->display_name = NameOf(path);
  parts->files = std::move(files);
  return std::make_unique<Checkpoint>(*std::move(parts));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenHf(const std::string& directory,
                                                   bool random_weights) {
  PINGTI_ASSIGN_OR_RETURN(HfDirectory files,
                          ReadHfDirectory(directory, /*with_tensors=*/!random_weights));
  const JsonFields config(files.config.get_object(), "");
  const absl::StatusOr<const Family*> family = FindHfFamily(config);
  if (!family.ok()) return InFile(directory + "/config.json", family.status());
  absl::StatusOr<DecoderSpec> spec = (*family)->from_hf(config);
  if (!spec.ok()) return InFile(directory + "/config.json", spec.status());
  if ((*family)->add_chat_format != nullptr) {
    (*family)->add_chat_format(files.chat_format, &files.text);
  }
  Checkpoint::Parts parts;
  parts.path = directory;
  parts.display_name = NameOf(directory);
  parts.text = std::move(files.text);
  if (random_weights) {
    parts.format = "random";
    std::vector<WeightSpec> weights = DeclaredWeights(*spec);
    if (spec->mtp.has_value()) {
      for (WeightSpec& weight : DeclaredHeadWeights(MtpHeadSpec(*spec))) {
        weights.push_back(std::move(weight));
      }
    }
    parts.tensors = TensorsWithoutData(weights);
  } else {
    parts.format = "safetensors";
    parts.compressed_int8 = std::move(files.quantization.int8);
    parts.packed = std::move(files.quantization.packed);
    parts.fp8 = files.quantization.fp8;
    parts.mxfp4 = files.quantization.mxfp4;
    parts.tensors = std::move(files.tensors);
    SplitFusedExperts(*spec, &parts.tensors);
    parts.files = std::move(files.files);
    parts.memory = std::move(files.memory);
  }
  parts.spec = *std::move(spec);
  return std::make_unique<Checkpoint>(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return absl::NotFoundError(Concat("model path '", path, "' does not exist"));
  }
  if (!std::filesystem::is_directory(status)) return OpenGguf(path);
  if (std::filesystem::exists(path + "/config.json", error)) {
    return OpenHf(path, /*random_weights=*/false);
  }
  std::vector<std::string> gguf_files;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") gguf_files.push_back(entry.path().string());
  }
  std::sort(gguf_files.begin(), gguf_files.end());
  if (!gguf_files.empty()) {
    PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> parts, GgufParts(gguf_files[0]));
    if (parts == gguf_files) return OpenGguf(gguf_files[0]);
  }
  return absl::NotFoundError(Concat("model directory '", path,
                                    "' holds neither config.json nor one "
                                    "GGUF file (it has ",
                                    gguf_files.size(), ")"));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenRandomCheckpoint(const std::string& directory) {
  return OpenHf(directory, /*random_weights=*/true);
}

absl::StatusOr<Checkpoint::Parts> ParseGgufCheckpoint(std::string_view bytes) {
  PINGTI_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(bytes));
  return DescribeGguf(file);
}

absl::StatusOr<DecoderSpec> ParseHfConfig(std::string_view config_json) {
  PINGTI_ASSIGN_OR_RETURN(const boost::json::value root, ParseJsonObject(config_json));
  const JsonFields config(root.get_object(), "");
  PINGTI_ASSIGN_OR_RETURN(const Family* family, FindHfFamily(config));
  return family->from_hf(config);
}

}  // namespace pingti::worker
