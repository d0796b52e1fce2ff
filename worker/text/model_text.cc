#include "worker/text/model_text.h"

#include <optional>
#include <string>
#include <utility>

#include "common/base/strings.h"
#include "common/text/chat_template.h"

namespace pingti::worker {
namespace {

std::optional<text::TokenId> Id(const std::optional<int64_t>& id) {
  if (!id.has_value()) return std::nullopt;
  return static_cast<text::TokenId>(*id);
}

text::GgufTokenizerData GgufData(const GgufTokenizerKeys& keys) {
  text::GgufTokenizerData data;
  data.model = keys.model;
  data.pre = keys.pre;
  data.tokens = keys.tokens;
  data.scores = keys.scores;
  data.token_types = keys.token_types;
  data.merges = keys.merges;
  data.bos_token_id = Id(keys.bos_token_id);
  data.eos_token_id = Id(keys.eos_token_id);
  data.unknown_token_id = Id(keys.unknown_token_id);
  data.add_bos_token = keys.add_bos_token;
  data.add_eos_token = keys.add_eos_token;
  data.add_space_prefix = keys.add_space_prefix;
  return data;
}

}  // namespace

absl::StatusOr<std::unique_ptr<text::Tokenizer>> MakeTokenizer(const TextAssets& assets) {
  if (!assets.tokenizer_json.empty()) return text::MakeJsonTokenizer(assets.tokenizer_json);
  if (!assets.tiktoken.empty()) return text::MakeQwenTokenizer(assets.tiktoken);
  if (assets.gguf.has_value()) return text::MakeGgufTokenizer(GgufData(*assets.gguf));
  return absl::NotFoundError(
      "no tokenizer: expected tokenizer.json, a .tiktoken file or a GGUF file's tokenizer.* keys. "
      "A "
      "SentencePiece tokenizer.model is not read: transformers makes tokenizer.json of it "
      "(save_pretrained of the fast tokenizer)");
}

absl::Status CheckTemplates(const TextAssets& assets) {
  if (!assets.chat_template.empty()) {
    const auto parsed = text::ChatTemplate::Parse(assets.chat_template, {});
    if (!parsed.ok()) return parsed.status();
  }
  for (const auto& [name, source] : assets.named_templates) {
    const auto parsed = text::ChatTemplate::Parse(source, {});
    if (parsed.ok()) continue;
    return absl::Status(parsed.status().code(),
                        Concat("template '", name, "': ", std::string(parsed.status().message())));
  }
  return absl::OkStatus();
}

}  // namespace pingti::worker
