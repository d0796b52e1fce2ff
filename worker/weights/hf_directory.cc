#include "worker/weights/hf_directory.h"

#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/json_fields.h"
#include "worker/weights/safetensors_file.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

constexpr size_t kMaxTextFileBytes = size_t{256} << 20;

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", std::string(status.message())));
}

// Contents of a small file; nullopt when there is none.
absl::StatusOr<std::optional<std::string>> ReadOptional(const std::string& path) {
  absl::StatusOr<std::unique_ptr<MappedFile>> file = MappedFile::Open(path);
  if (absl::IsNotFound(file.status())) return std::nullopt;
  if (!file.ok()) return file.status();
  if ((*file)->bytes().size() > kMaxTextFileBytes) {
    return absl::InvalidArgumentError(
        Concat(path, ": ", (*file)->bytes().size(), " bytes; expected a text file"));
  }
  return std::string((*file)->bytes());
}

absl::StatusOr<std::string> ReadRequired(const std::string& path) {
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> text, ReadOptional(path));
  if (!text.has_value()) return absl::NotFoundError(Concat("'", path, "' does not exist"));
  return *std::move(text);
}

// File names of the shards, from model.safetensors.index.json or the single file.
absl::StatusOr<std::set<std::string>> ShardNames(const std::string& directory) {
  const std::string index_path = directory + "/model.safetensors.index.json";
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> index, ReadOptional(index_path));
  if (!index.has_value()) return std::set<std::string>{"model.safetensors"};
  const absl::StatusOr<json::value> root = ParseJsonObject(*index);
  if (!root.ok()) return InFile(index_path, root.status());
  const JsonFields fields(root->get_object(), "");
  PINGTI_ASSIGN_OR_RETURN(const json::object* map, fields.Object("weight_map"));
  if (map == nullptr || map->empty()) {
    return absl::InvalidArgumentError(Concat(index_path, ": 'weight_map' is missing or empty"));
  }
  std::set<std::string> names;
  for (const auto& item : *map) {
    const json::string* name = item.value().if_string();
    if (name == nullptr || name->find('/') != json::string::npos || name->empty()) {
      return absl::InvalidArgumentError(Concat(index_path, ": 'weight_map' holds ",
                                               json::serialize(item.value()),
                                               "; expected the name of a file beside it"));
    }
    names.emplace(name->data(), name->size());
  }
  return names;
}

absl::Status ReadShards(const std::string& directory, HfDirectory* out) {
  PINGTI_ASSIGN_OR_RETURN(const std::set<std::string> shards, ShardNames(directory));
  std::set<std::string> seen;
  for (const std::string& shard : shards) {
    const std::string path = Concat(directory, "/", shard);
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
    absl::StatusOr<std::vector<TensorView>> tensors = ParseSafetensors(file->bytes());
    if (!tensors.ok()) return InFile(path, tensors.status());
    for (TensorView& tensor : *tensors) {
      if (!seen.insert(tensor.name).second) {
        return absl::InvalidArgumentError(
            Concat(path, ": tensor '", tensor.name, "' is in another shard too"));
      }
      out->tensors.push_back(std::move(tensor));
    }
    out->files.push_back(std::move(file));
  }
  return absl::OkStatus();
}

// A template is a string, or a list of {"name", "template"} whose "default" is the one for chat.
absl::Status ReadTemplates(const JsonFields& fields, TextAssets* text) {
  const json::value* value = fields.Find("chat_template");
  if (value == nullptr) return absl::OkStatus();
  if (const json::string* one = value->if_string()) {
    text->chat_template.assign(one->data(), one->size());
    return absl::OkStatus();
  }
  const json::array* list = value->if_array();
  if (list == nullptr) {
    return absl::InvalidArgumentError("'chat_template' is neither a string nor a list");
  }
  for (const json::value& item : *list) {
    if (!item.is_object()) {
      return absl::InvalidArgumentError("'chat_template' holds an entry that is not an object");
    }
    const JsonFields entry(item.get_object(), "chat_template[].");
    PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> name, entry.String("name"));
    PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> body, entry.String("template"));
    if (name.value_or("") == "default") {
      text->chat_template = body.value_or("");
    } else {
      text->named_templates[name.value_or("")] = body.value_or("");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTokenizerConfig(const std::string& directory, TextAssets* text) {
  const std::string path = directory + "/tokenizer_config.json";
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> body, ReadOptional(path));
  if (body.has_value()) {
    const absl::StatusOr<json::value> root = ParseJsonObject(*body);
    if (!root.ok()) return InFile(path, root.status());
    const JsonFields fields(root->get_object(), "");
    if (absl::Status status = ReadTemplates(fields, text); !status.ok()) {
      return InFile(path, status);
    }
    const absl::StatusOr<std::optional<bool>> add_bos = fields.Bool("add_bos_token");
    if (!add_bos.ok()) return InFile(path, add_bos.status());
    text->add_bos_token = add_bos->value_or(false);
    text->tokenizer_config_json = *std::move(body);
  }
  // Newer checkpoints keep the template in a file of its own.
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> jinja,
                          ReadOptional(directory + "/chat_template.jinja"));
  if (jinja.has_value()) text->chat_template = *std::move(jinja);
  return absl::OkStatus();
}

absl::Status ReadGenerationFields(const JsonFields& fields, HfDirectory* out) {
  TextAssets* text = &out->text;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> eos, fields.IntList("eos_token_id"));
  if (!eos.empty()) text->eos_token_ids = eos;
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> bos, fields.Int("bos_token_id"));
  if (bos.has_value()) text->bos_token_id = bos;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> pad, fields.IntList("pad_token_id"));
  if (!pad.empty()) text->pad_token_id = pad.front();
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> format, fields.String("chat_format"));
  out->chat_format = format.value_or("");
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> sample, fields.Bool("do_sample"));
  if (!sample.value_or(false)) return absl::OkStatus();  // its numbers are not meant for use
  PINGTI_ASSIGN_OR_RETURN(text->sampling.temperature, fields.Number("temperature"));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.top_p, fields.Number("top_p"));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.top_k, fields.Int("top_k"));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.min_p, fields.Number("min_p"));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.repetition_penalty, fields.Number("repetition_penalty"));
  return absl::OkStatus();
}

// The first of the directory's files, by name, that ends in .tiktoken; empty when there is none.
absl::StatusOr<std::string> ReadTiktoken(const std::string& directory) {
  std::set<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".tiktoken") paths.insert(entry.path().string());
  }
  if (paths.empty()) return "";
  return ReadRequired(*paths.begin());
}

absl::Status ReadSpecialTokens(const JsonFields& config, TextAssets* text) {
  PINGTI_ASSIGN_OR_RETURN(text->bos_token_id, config.Int("bos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(text->eos_token_ids, config.IntList("eos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(text->pad_token_id, config.Int("pad_token_id"));
  return absl::OkStatus();
}

absl::Status ReadText(const std::string& directory, HfDirectory* out) {
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> tokenizer,
                          ReadOptional(directory + "/tokenizer.json"));
  if (tokenizer.has_value()) {
    out->text.tokenizer_json = *std::move(tokenizer);
  } else {
    PINGTI_ASSIGN_OR_RETURN(out->text.tiktoken, ReadTiktoken(directory));
  }
  PINGTI_RETURN_IF_ERROR(ReadTokenizerConfig(directory, &out->text));
  const std::string path = directory + "/generation_config.json";
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> generation, ReadOptional(path));
  if (!generation.has_value()) return absl::OkStatus();
  const absl::StatusOr<json::value> root = ParseJsonObject(*generation);
  if (!root.ok()) return InFile(path, root.status());
  const absl::Status status = ReadGenerationFields(JsonFields(root->get_object(), ""), out);
  return status.ok() ? status : InFile(path, status);
}

// What config.json says whatever the family.
absl::Status ReadConfig(HfDirectory* out) {
  const JsonFields config(out->config.get_object(), "");
  PINGTI_ASSIGN_OR_RETURN(out->quantization, ReadHfQuantization(config));
  return ReadSpecialTokens(config, &out->text);
}

}  // namespace

absl::StatusOr<HfDirectory> ReadHfDirectory(const std::string& directory, bool with_tensors) {
  HfDirectory out;
  const std::string config_path = directory + "/config.json";
  PINGTI_ASSIGN_OR_RETURN(const std::string text, ReadRequired(config_path));
  absl::StatusOr<json::value> config = ParseJsonObject(text);
  if (!config.ok()) return InFile(config_path, config.status());
  out.config = *std::move(config);
  const absl::Status read = ReadConfig(&out);
  if (!read.ok()) return InFile(config_path, read);
  if (with_tensors) PINGTI_RETURN_IF_ERROR(ReadShards(directory, &out));
  PINGTI_RETURN_IF_ERROR(ReadText(directory, &out));
  return out;
}

}  // namespace pingti::worker
