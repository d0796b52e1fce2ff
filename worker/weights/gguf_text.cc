#include "worker/weights/gguf_text.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

template <typename To, typename From>
std::vector<To> Convert(const std::vector<From>* from) {
  std::vector<To> to;
  if (from == nullptr) return to;
  to.reserve(from->size());
  for (const From& value : *from) to.push_back(static_cast<To>(value));
  return to;
}

}  // namespace

absl::StatusOr<TextAssets> ReadGgufText(const GgufFile& file) {
  TextAssets text;
  PINGTI_ASSIGN_OR_RETURN(const auto model, file.String("tokenizer.ggml.model"));
  if (model.has_value() && *model != "none") {
    GgufTokenizerKeys keys;
    keys.model = std::string(*model);
    PINGTI_ASSIGN_OR_RETURN(const auto pre, file.String("tokenizer.ggml.pre"));
    keys.pre = std::string(pre.value_or(""));
    PINGTI_ASSIGN_OR_RETURN(const auto* tokens, file.Strings("tokenizer.ggml.tokens"));
    PINGTI_ASSIGN_OR_RETURN(const auto* merges, file.Strings("tokenizer.ggml.merges"));
    PINGTI_ASSIGN_OR_RETURN(const auto* scores, file.Floats("tokenizer.ggml.scores"));
    PINGTI_ASSIGN_OR_RETURN(const auto* types, file.Ints("tokenizer.ggml.token_type"));
    keys.tokens = Convert<std::string>(tokens);
    keys.merges = Convert<std::string>(merges);
    keys.scores = Convert<float>(scores);
    keys.token_types = Convert<int32_t>(types);
    PINGTI_ASSIGN_OR_RETURN(keys.bos_token_id, file.Int("tokenizer.ggml.bos_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.eos_token_id, file.Int("tokenizer.ggml.eos_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.unknown_token_id, file.Int("tokenizer.ggml.unknown_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.padding_token_id, file.Int("tokenizer.ggml.padding_token_id"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_bos_token, file.Bool("tokenizer.ggml.add_bos_token"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_eos_token, file.Bool("tokenizer.ggml.add_eos_token"));
    PINGTI_ASSIGN_OR_RETURN(keys.add_space_prefix, file.Bool("tokenizer.ggml.add_space_prefix"));
    text.bos_token_id = keys.bos_token_id;
    text.pad_token_id = keys.padding_token_id;
    text.add_bos_token = keys.add_bos_token.value_or(false);
    text.gguf = std::move(keys);
  }
  // A chat turn may end with a token of its own beside the end of text.
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> id, file.Int(key));
    if (id.has_value()) text.eos_token_ids.push_back(*id);
  }
  PINGTI_ASSIGN_OR_RETURN(const auto chat_template, file.String("tokenizer.chat_template"));
  text.chat_template = std::string(chat_template.value_or(""));
  PINGTI_ASSIGN_OR_RETURN(const auto* names, file.Strings("tokenizer.chat_templates"));
  for (const std::string& name : Convert<std::string>(names)) {
    PINGTI_ASSIGN_OR_RETURN(const auto named, file.String("tokenizer.chat_template." + name));
    if (named.has_value()) text.named_templates[name] = std::string(*named);
  }
  return text;
}

}  // namespace pingti::worker
