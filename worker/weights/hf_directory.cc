#include "worker/weights/hf_directory.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/bitsandbytes.h"
#include "worker/weights/json_fields.h"
#include "worker/weights/safetensors_file.h"
#include "worker/weights/shard_names.h"
#include "worker/weights/text_file.h"

namespace pingti::worker {
namespace {

namespace json = boost::json;

// Constants that old checkpoints carry as tensors; nobody reads them.
bool IsUnread(std::string_view name) {
  for (const std::string_view end :
       {".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached",
        ".attn.masked_bias", ".attention.masked_bias", ".attention.bias"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

absl::Status ReadShards(const std::string& directory, HfDirectory* out) {
  PINGTI_ASSIGN_OR_RETURN(const std::set<std::string> shards, SafetensorsNames(directory));
  std::set<std::string> seen;
  for (const std::string& shard : shards) {
    const std::string path = Concat(directory, "/", shard);
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
    absl::StatusOr<std::vector<TensorView>> tensors = ParseSafetensors(file->bytes());
    if (!tensors.ok()) return InFile(path, tensors.status());
    for (TensorView& tensor : *tensors) {
      if (IsUnread(tensor.name)) continue;
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

const json::value* Member(const json::value* value, const char* name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

// The id of an added token by its spelling: of "added_tokens_decoder" in tokenizer_config.json
// ({"ID": {"content"}}), or "added_tokens" in tokenizer.json ([{"id", "content"}]).
std::optional<int64_t> FindAddedToken(const json::object& config, const TextAssets& text,
                                      const json::value& spelling) {
  const json::value* decoder = config.if_contains("added_tokens_decoder");
  if (decoder != nullptr && decoder->is_object()) {
    for (const auto& token : decoder->get_object()) {
      const json::value* content = Member(&token.value(), "content");
      if (content != nullptr && *content == spelling) {
        return std::atoll(std::string(token.key()).c_str());
      }
    }
  }
  const absl::StatusOr<json::value> tokenizer = ParseJsonObject(text.tokenizer_json);
  const json::value* added = tokenizer.ok() ? Member(&*tokenizer, "added_tokens") : nullptr;
  if (added == nullptr || !added->is_array()) return std::nullopt;
  for (const json::value& token : added->get_array()) {
    const json::value* content = Member(&token, "content");
    const json::value* id = Member(&token, "id");
    if (content == nullptr || *content != spelling || id == nullptr) continue;
    if (const int64_t* number = id->if_int64()) return *number;
  }
  return std::nullopt;
}

// "eos_token" of tokenizer_config.json: a spelling, or an object that has one.
std::optional<int64_t> EndOfTokenizer(const json::object& config, const TextAssets& text) {
  const json::value* token = config.if_contains("eos_token");
  if (token != nullptr && token->is_object()) token = Member(token, "content");
  if (token == nullptr || !token->is_string()) return std::nullopt;
  return FindAddedToken(config, text, *token);
}

absl::Status ReadTokenizerConfig(const std::string& directory, TextAssets* text) {
  const std::string path = directory + "/tokenizer_config.json";
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> body, ReadOptionalFile(path));
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
    const std::optional<int64_t> eos = EndOfTokenizer(root->get_object(), *text);
    if (eos.has_value()) text->eos_token_ids.push_back(*eos);
    text->tokenizer_config_json = *std::move(body);
  }
  // Newer checkpoints keep the template in a file of its own.
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> jinja,
                          ReadOptionalFile(directory + "/chat_template.jinja"));
  if (jinja.has_value()) text->chat_template = *std::move(jinja);
  return absl::OkStatus();
}

absl::Status ReadGenerationFields(const JsonFields& fields, HfDirectory* out) {
  TextAssets* text = &out->text;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> eos, fields.IntList("eos_token_id"));
  // Those of a turn are often here alone, those of a text in config.json alone.
  text->eos_token_ids.insert(text->eos_token_ids.begin(), eos.begin(), eos.end());
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> bos, fields.Int("bos_token_id"));
  if (bos.has_value()) text->bos_token_id = bos;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<int64_t> pad, fields.IntList("pad_token_id"));
  if (!pad.empty() && pad.front() != -1) text->pad_token_id = pad.front();
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> format, fields.String("chat_format"));
  out->chat_format = format.value_or("");
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> sample, fields.Bool("do_sample"));
  if (!sample.value_or(false)) return absl::OkStatus();  // its numbers are not meant for use
  // Ranges that a request's own values must keep too.
  constexpr double kSmallest = 1e-6;
  PINGTI_ASSIGN_OR_RETURN(text->sampling.temperature, fields.NumberIn("temperature", 0.0, 2.0));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.top_p, fields.NumberIn("top_p", kSmallest, 1.0));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.top_k, fields.IntIn("top_k", -1, INT32_MAX));
  if (text->sampling.top_k == -1) text->sampling.top_k = 0;  // all tokens, as 0 says
  PINGTI_ASSIGN_OR_RETURN(text->sampling.min_p, fields.NumberIn("min_p", 0.0, 1.0));
  PINGTI_ASSIGN_OR_RETURN(text->sampling.repetition_penalty,
                          fields.NumberIn("repetition_penalty", 0.01, 10.0));
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
  return ReadRequiredFile(*paths.begin());
}

absl::Status ReadSpecialTokens(const JsonFields& config, TextAssets* text) {
  PINGTI_ASSIGN_OR_RETURN(text->bos_token_id, config.Int("bos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(text->eos_token_ids, config.IntList("eos_token_id"));
  PINGTI_ASSIGN_OR_RETURN(text->pad_token_id, config.Int("pad_token_id"));
  if (text->pad_token_id == -1) text->pad_token_id.reset();  // so the first Llamas say none
  return absl::OkStatus();
}

absl::Status ReadGeneration(const std::string& directory, HfDirectory* out) {
  const std::string path = directory + "/generation_config.json";
  PINGTI_ASSIGN_OR_RETURN(const std::optional<std::string> generation, ReadOptionalFile(path));
  if (!generation.has_value()) return absl::OkStatus();
  const absl::StatusOr<json::value> root = ParseJsonObject(*generation);
  if (!root.ok()) return InFile(path, root.status());
  const absl::Status status = ReadGenerationFields(JsonFields(root->get_object(), ""), out);
  return status.ok() ? status : InFile(path, status);
}

absl::Status ReadText(const std::string& directory, HfDirectory* out) {
  PINGTI_ASSIGN_OR_RETURN(std::optional<std::string> tokenizer,
                          ReadOptionalFile(directory + "/tokenizer.json"));
  if (tokenizer.has_value()) {
    out->text.tokenizer_json = *std::move(tokenizer);
  } else {
    PINGTI_ASSIGN_OR_RETURN(out->text.tiktoken, ReadTiktoken(directory));
  }
  PINGTI_RETURN_IF_ERROR(ReadTokenizerConfig(directory, &out->text));
  PINGTI_RETURN_IF_ERROR(ReadGeneration(directory, out));
  // What the files have between them ends a sequence, each token once.
  std::set<int64_t> seen;
  std::erase_if(out->text.eos_token_ids, [&seen](int64_t id) { return !seen.insert(id).second; });
  return absl::OkStatus();
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
  PINGTI_ASSIGN_OR_RETURN(const std::string text, ReadRequiredFile(config_path));
  absl::StatusOr<json::value> config = ParseJsonObject(text);
  if (!config.ok()) return InFile(config_path, config.status());
  out.config = *std::move(config);
  const absl::Status read = ReadConfig(&out);
  if (!read.ok()) return InFile(config_path, read);
  if (with_tensors) PINGTI_RETURN_IF_ERROR(ReadShards(directory, &out));
  if (with_tensors && out.quantization.bitsandbytes) {
    const absl::StatusOr<bool> has_int8 = JoinBitsAndBytes(&out.tensors, &out.memory);
    if (!has_int8.ok()) return InFile(directory, has_int8.status());
    out.quantization.int8.present = *has_int8;
    out.quantization.int8.weights_only = *has_int8;
  }
  PINGTI_RETURN_IF_ERROR(ReadText(directory, &out));
  return out;
}

}  // namespace pingti::worker
