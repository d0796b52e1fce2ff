// See model_store.h.
#include "router/worker_link/model_store.h"

#include <utility>

#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::router {
namespace {

using TokenizerOr = absl::StatusOr<std::unique_ptr<text::Tokenizer>>;

TokenizerOr FromGguf(const std::string& bytes) {
  worker::v1::GgufTokenizer keys;
  if (!keys.ParseFromString(bytes)) {
    return absl::DataLossError("tokenizer asset is not a serialized GgufTokenizer");
  }
  text::GgufTokenizerData data;
  data.model = keys.model();
  data.pre = keys.pre();
  data.tokens.assign(keys.tokens().begin(), keys.tokens().end());
  data.scores.assign(keys.scores().begin(), keys.scores().end());
  data.token_types.assign(keys.token_types().begin(), keys.token_types().end());
  data.merges.assign(keys.merges().begin(), keys.merges().end());
  const auto id = [](uint32_t value) { return static_cast<text::TokenId>(value); };
  if (keys.has_bos_token_id()) data.bos_token_id = id(keys.bos_token_id());
  if (keys.has_eos_token_id()) data.eos_token_id = id(keys.eos_token_id());
  if (keys.has_unknown_token_id()) data.unknown_token_id = id(keys.unknown_token_id());
  if (keys.has_add_bos_token()) data.add_bos_token = keys.add_bos_token();
  if (keys.has_add_eos_token()) data.add_eos_token = keys.add_eos_token();
  if (keys.has_add_space_prefix()) data.add_space_prefix = keys.add_space_prefix();
  return text::MakeGgufTokenizer(std::move(data));
}

TokenizerOr BuildTokenizer(const worker::v1::Asset& asset, const std::string& bytes) {
  switch (asset.format()) {
    case worker::v1::Asset::FORMAT_GGUF_TOKENIZER:
      return FromGguf(bytes);
    case worker::v1::Asset::FORMAT_TOKENIZER_JSON:
      return text::MakeJsonTokenizer(bytes);
    case worker::v1::Asset::FORMAT_TIKTOKEN:
      return text::MakeQwenTokenizer(bytes);
    default:
      return absl::UnimplementedError(Concat(
          "tokenizer asset has format ", worker::v1::Asset::Format_Name(asset.format()),
          "; expected FORMAT_TOKENIZER_JSON, FORMAT_GGUF_TOKENIZER or FORMAT_TIKTOKEN. A "
          "SentencePiece model is served from the tokenizer.json that transformers makes of it"));
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const text::Tokenizer>> ModelStore::Tokenizer(
    const worker::v1::ModelCard& card, const Fetch& fetch) {
  const std::string& sha256 = card.tokenizer().sha256();
  std::weak_ptr<const text::Tokenizer>& known = tokenizers_[sha256];
  if (std::shared_ptr<const text::Tokenizer> tokenizer = known.lock()) return tokenizer;
  PINGTI_ASSIGN_OR_RETURN(const std::string bytes, fetch(card.tokenizer()));
  if (ToHex(Sha256(bytes)) != sha256) {
    return absl::DataLossError(
        Concat("tokenizer asset ", sha256, ": the bytes received have another sha256"));
  }
  PINGTI_ASSIGN_OR_RETURN(std::shared_ptr<const text::Tokenizer> tokenizer,
                          BuildTokenizer(card.tokenizer(), bytes));
  known = tokenizer;
  return tokenizer;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelStore::GetOrBuild(
    const worker::v1::ModelCard& card, const Fetch& fetch) {
  MutexLock lock(&build_mutex_);
  std::vector<std::string> names{card.model_id()};
  names.insert(names.end(), card.aliases().begin(), card.aliases().end());
  std::weak_ptr<const ServedModel>& known =
      models_[{card.fingerprint(), card.max_context_tokens(), std::move(names)}];
  if (std::shared_ptr<const ServedModel> model = known.lock()) return model;
  PINGTI_ASSIGN_OR_RETURN(std::shared_ptr<const text::Tokenizer> tokenizer, Tokenizer(card, fetch));
  std::string config;
  if (card.has_tokenizer_config()) {
    PINGTI_ASSIGN_OR_RETURN(config, fetch(card.tokenizer_config()));
  }
  PINGTI_ASSIGN_OR_RETURN(std::shared_ptr<const ServedModel> model,
                          MakeServedModel(card, std::move(tokenizer), config));
  known = model;
  return model;
}

}  // namespace pingti::router
