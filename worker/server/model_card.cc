// See model_card.h.
#include "worker/server/model_card.h"

#include <utility>

#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/weights/weights_digest.h"

namespace pingti::worker {
namespace {

void AddAsset(std::string bytes, v1::Asset::Format format, ServedCard* served, v1::Asset* asset) {
  const std::string sha = ToHex(Sha256(bytes));
  asset->set_format(format);
  asset->set_sha256(sha);
  asset->set_size_bytes(bytes.size());
  served->assets.emplace(sha, std::move(bytes));
}

std::string SerializeGguf(const GgufTokenizerKeys& keys) {
  v1::GgufTokenizer message;
  message.set_model(keys.model);
  message.set_pre(keys.pre);
  for (const std::string& token : keys.tokens) message.add_tokens(token);
  for (const float score : keys.scores) message.add_scores(score);
  for (const int32_t type : keys.token_types) message.add_token_types(type);
  for (const std::string& merge : keys.merges) message.add_merges(merge);
  const auto id = [](int64_t value) { return static_cast<uint32_t>(value); };
  if (keys.bos_token_id) message.set_bos_token_id(id(*keys.bos_token_id));
  if (keys.eos_token_id) message.set_eos_token_id(id(*keys.eos_token_id));
  if (keys.unknown_token_id) message.set_unknown_token_id(id(*keys.unknown_token_id));
  if (keys.padding_token_id) message.set_padding_token_id(id(*keys.padding_token_id));
  if (keys.add_bos_token) message.set_add_bos_token(*keys.add_bos_token);
  if (keys.add_eos_token) message.set_add_eos_token(*keys.add_eos_token);
  if (keys.add_space_prefix) message.set_add_space_prefix(*keys.add_space_prefix);
  return message.SerializeAsString();
}

absl::Status AddText(const Checkpoint& checkpoint, ServedCard* served) {
  const TextAssets& text = checkpoint.text();
  v1::ModelCard* card = &served->card;
  v1::Asset* tokenizer = card->mutable_tokenizer();
  if (!text.tokenizer_json.empty()) {
    AddAsset(text.tokenizer_json, v1::Asset::FORMAT_TOKENIZER_JSON, served, tokenizer);
  } else if (text.gguf) {
    AddAsset(SerializeGguf(*text.gguf), v1::Asset::FORMAT_GGUF_TOKENIZER, served, tokenizer);
  } else if (!text.tiktoken.empty()) {
    AddAsset(text.tiktoken, v1::Asset::FORMAT_TIKTOKEN, served, tokenizer);
  } else {
    return absl::InvalidArgumentError(
        Concat(checkpoint.path(),
               ": no tokenizer: expected tokenizer.json, a .tiktoken file or a GGUF file's "
               "tokenizer.* keys. A SentencePiece tokenizer.model is not read: transformers makes "
               "tokenizer.json of it (save_pretrained of the fast tokenizer)"));
  }
  if (!text.tokenizer_config_json.empty()) {
    AddAsset(text.tokenizer_config_json, v1::Asset::FORMAT_TOKENIZER_CONFIG, served,
             card->mutable_tokenizer_config());
  }
  card->set_chat_template(text.chat_template);
  for (const auto& [name, value] : text.named_templates) {
    (*card->mutable_named_templates())[name] = value;
  }
  return absl::OkStatus();
}

absl::Status AddSpecialTokens(const Checkpoint& checkpoint, int32_t vocab_size,
                              v1::ModelCard* card) {
  const TextAssets& text = checkpoint.text();
  const auto check = [&](std::string_view name, int64_t id) -> absl::Status {
    if (id >= 0 && id < vocab_size) return absl::OkStatus();
    return absl::InvalidArgumentError(Concat(checkpoint.path(), ": ", name, " is ", id,
                                             ": expected a token id below ", vocab_size));
  };
  if (text.bos_token_id) {
    PINGTI_RETURN_IF_ERROR(check("bos_token_id", *text.bos_token_id));
    card->set_bos_token_id(static_cast<uint32_t>(*text.bos_token_id));
  }
  for (const int64_t id : text.eos_token_ids) {
    PINGTI_RETURN_IF_ERROR(check("eos_token_id", id));
    card->add_eos_token_ids(static_cast<uint32_t>(id));
  }
  if (text.pad_token_id) {
    PINGTI_RETURN_IF_ERROR(check("pad_token_id", *text.pad_token_id));
    card->set_pad_token_id(static_cast<uint32_t>(*text.pad_token_id));
  }
  card->set_add_bos_token(text.add_bos_token);
  return absl::OkStatus();
}

void AddDefaults(const SamplingHints& hints, v1::SamplingDefaults* defaults) {
  if (hints.temperature) defaults->set_temperature(static_cast<float>(*hints.temperature));
  if (hints.top_p) defaults->set_top_p(static_cast<float>(*hints.top_p));
  if (hints.top_k) defaults->set_top_k(static_cast<uint32_t>(*hints.top_k));
  if (hints.min_p) defaults->set_min_p(static_cast<float>(*hints.min_p));
  if (hints.repetition_penalty) {
    defaults->set_repetition_penalty(static_cast<float>(*hints.repetition_penalty));
  }
}

// Over the configuration, every tensor's name, type and shape, a sample of its bytes, the tokenizer
// and the formats: workers of equal fingerprints give equal answers, as far as their limits go.
std::string Fingerprint(const Checkpoint& checkpoint, const v1::ModelCard& card) {
  Sha256Hasher hasher;
  const auto add = [&](const std::string& part) {
    hasher.Update(part);
    hasher.Update("\n");
  };
  const DecoderSpec& spec = checkpoint.spec();
  add(Concat(spec.architecture, " ", spec.hidden_size, " ", spec.vocab_size, " ", spec.rope.theta,
             " ", static_cast<int>(spec.rope.scaling), " ", spec.rope.factor));
  for (const LayerSpec& layer : spec.layers) {
    const AttentionSpec& attention = layer.attention;
    add(Concat(attention.num_heads, " ", attention.num_kv_heads, " ", attention.head_dim, " ",
               attention.window, " ", layer.mlp.inner, " ", layer.attention_norm.eps));
    if (layer.latent_attention.has_value()) {
      const LatentAttentionSpec& latent = *layer.latent_attention;
      add(Concat(latent.num_heads, " ", latent.nope_dim, " ", latent.rope_dim, " ",
                 latent.value_dim, " ", latent.latent_dim, " ", latent.query_latent_dim, " ",
                 latent.scale));
    }
    if (!layer.experts.has_value()) continue;
    const ExpertRouting& routing = layer.experts->routing;
    add(Concat(routing.num_experts, " ", routing.experts_per_token, " ", layer.experts->inner, " ",
               static_cast<int>(routing.score), " ", routing.normalize, " ", routing.scale, " ",
               routing.num_groups, " ", routing.groups_per_token));
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    std::string line = Concat(tensor.name, " ", static_cast<int>(tensor.dtype));
    for (const int64_t dim : tensor.shape) line += Concat(" ", dim);
    add(line);
  }
  add(WeightsDigest(checkpoint));
  add(card.tokenizer().sha256());
  add(card.chat_template());
  add(Concat(card.weight_format(), " ", card.kv_format(), " ", checkpoint.weight_bytes()));
  return ToHex(hasher.Finish());
}

}  // namespace

std::string ModelIdFromPath(const std::string& path) {
  std::string name = path;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = name.substr(name.rfind('/') + 1);
  constexpr std::string_view kSuffix = ".gguf";
  if (name.size() > kSuffix.size() && name.ends_with(kSuffix)) {
    name.resize(name.size() - kSuffix.size());
  }
  return name;
}

std::string ServedModelId(const std::string& setting, const std::string& path) {
  return setting.empty() ? ModelIdFromPath(path) : setting;
}

absl::StatusOr<ServedCard> BuildModelCard(const Checkpoint& checkpoint, const CardFacts& facts) {
  ServedCard served;
  v1::ModelCard* card = &served.card;
  card->set_model_id(ServedModelId(facts.model_id, checkpoint.path()));
  for (const std::string& alias : facts.aliases) card->add_aliases(alias);
  card->set_created_unix_s(facts.created_unix_s);
  card->set_owned_by("pingti");
  card->set_architecture(checkpoint.spec().architecture);
  card->set_num_parameters(static_cast<uint64_t>(checkpoint.num_parameters()));
  card->set_weight_format(facts.weight_format);
  card->set_kv_format(facts.kv_format);
  card->set_max_context_tokens(static_cast<uint32_t>(facts.max_context_tokens));
  card->set_max_batch_tokens(static_cast<uint32_t>(facts.max_batch_tokens));
  card->set_max_batch_size(static_cast<uint32_t>(facts.max_batch_size));
  card->set_kv_block_tokens(static_cast<uint32_t>(facts.kv_block_tokens));
  card->set_kv_total_blocks(static_cast<uint64_t>(facts.kv_total_blocks));
  card->set_vocab_size(static_cast<uint32_t>(facts.vocab_size));
  card->set_tensor_parallel(1);
  for (const char* feature :
       {"logprobs", "prompt_logprobs", "beam_search", "beam_early_stopping", "output_interval"}) {
    card->add_features(feature);
  }
  if (facts.grammars) {
    for (const char* feature : {"beam_stop_texts", "grammar", "grammar_free_text", "grammar_frames",
                                "grammar_messages"}) {
      card->add_features(feature);
    }
  }
  PINGTI_RETURN_IF_ERROR(AddSpecialTokens(checkpoint, facts.vocab_size, card));
  PINGTI_RETURN_IF_ERROR(AddText(checkpoint, &served));
  AddDefaults(checkpoint.text().sampling, card->mutable_sampling_defaults());
  card->set_fingerprint(Fingerprint(checkpoint, *card));
  return served;
}

}  // namespace pingti::worker
