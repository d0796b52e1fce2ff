// Builds a tokenizer from a Hugging Face tokenizer.json with a BPE model. The parts around the
// model are read in json_steps.cc.
#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/byte_alphabet.h"
#include "common/text/json_fields.h"
#include "common/text/json_steps.h"
#include "common/text/pipeline_tokenizer.h"
#include "common/text/sentence_piece.h"
#include "common/text/tokenizer.h"

namespace pingti::text {
namespace {

// A file cannot make the tables larger than this.
constexpr int64_t kMaxTokens = 4'000'000;

struct Vocabulary {
  std::vector<std::string> tokens;  // spelling by id, empty where an id is unused
  std::unordered_map<std::string_view, TokenId> ids;
};

absl::Status CheckId(int64_t id, std::string_view token) {
  if (id >= 0 && id < kMaxTokens) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: token '", std::string(token),
                                                 "' has id ", id, ", expected 0 to ",
                                                 kMaxTokens - 1));
}

absl::StatusOr<Vocabulary> ReadVocabulary(const JsonAt& model) {
  PINGTI_ASSIGN_OR_RETURN(const JsonAt vocab, JsonObject(model, "vocab"));
  Vocabulary read;
  int64_t last = -1;
  for (const auto& member : *vocab.object) {
    if (!member.value().is_int64()) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: 'model.vocab': token '",
                                                     std::string(member.key()),
                                                     "': expected an integer id"));
    }
    PINGTI_RETURN_IF_ERROR(CheckId(member.value().get_int64(), member.key()));
    last = std::max(last, member.value().get_int64());
  }
  read.tokens.resize(static_cast<size_t>(last + 1));
  read.ids.reserve(vocab.object->size());
  for (const auto& member : *vocab.object) {
    const int64_t id = member.value().get_int64();
    read.tokens[static_cast<size_t>(id)] = member.key();
    read.ids.emplace(member.key(), static_cast<TokenId>(id));
  }
  return read;
}

absl::StatusOr<std::vector<BpeMerge>> ReadMerges(const JsonAt& model, const Vocabulary& vocab) {
  PINGTI_ASSIGN_OR_RETURN(const auto* list, JsonArray(model, "merges"));
  std::vector<BpeMerge> merges;
  merges.reserve(list->size());
  for (size_t rank = 0; rank < list->size(); ++rank) {
    const auto& entry = (*list)[rank];
    std::string left, right;
    if (entry.is_string()) {
      const std::string_view text = entry.get_string();
      const size_t space = text.find(' ');
      if (space != std::string_view::npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    } else if (entry.is_array() && entry.get_array().size() == 2 &&
               entry.get_array()[0].is_string() && entry.get_array()[1].is_string()) {
      left = entry.get_array()[0].get_string();
      right = entry.get_array()[1].get_string();
    }
    const auto l = vocab.ids.find(left), r = vocab.ids.find(right);
    const std::string both = left + right;
    const auto joined = vocab.ids.find(both);
    if (left.empty() || l == vocab.ids.end() || r == vocab.ids.end() || joined == vocab.ids.end()) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: 'model.merges[", rank,
                                                     "]': expected two tokens whose "
                                                     "joined spelling is a token, found ",
                                                     boost::json::serialize(entry)));
    }
    merges.push_back({l->second, r->second, joined->second, static_cast<int32_t>(rank)});
  }
  return merges;
}

absl::Status ReadAddedTokens(const JsonAt& root, TokenizerParts* parts) {
  if (!JsonHas(root, "added_tokens")) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const auto* list, JsonArray(root, "added_tokens"));
  for (size_t i = 0; i < list->size(); ++i) {
    PINGTI_ASSIGN_OR_RETURN(const JsonAt at, JsonElement(root, "added_tokens", *list, i));
    AddedToken token;
    PINGTI_ASSIGN_OR_RETURN(token.content, JsonString(at, "content"));
    PINGTI_ASSIGN_OR_RETURN(const int64_t id, JsonInt(at, "id"));
    PINGTI_RETURN_IF_ERROR(CheckId(id, token.content));
    token.id = static_cast<TokenId>(id);
    PINGTI_ASSIGN_OR_RETURN(token.special, JsonBoolOr(at, "special", false));
    PINGTI_ASSIGN_OR_RETURN(token.single_word, JsonBoolOr(at, "single_word", false));
    PINGTI_ASSIGN_OR_RETURN(token.lstrip, JsonBoolOr(at, "lstrip", false));
    PINGTI_ASSIGN_OR_RETURN(token.rstrip, JsonBoolOr(at, "rstrip", false));
    PINGTI_ASSIGN_OR_RETURN(token.normalized, JsonBoolOr(at, "normalized", !token.special));
    parts->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::Status RefuseUnsupported(const JsonAt& root, const JsonAt& model) {
  PINGTI_ASSIGN_OR_RETURN(const std::string type, JsonStringOr(model, "type", "BPE"));
  if (type != "BPE") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.json: model type '", type, "' is not supported; supported: BPE"));
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    PINGTI_ASSIGN_OR_RETURN(const std::string value, JsonStringOr(model, name, ""));
    if (!value.empty()) {
      return absl::UnimplementedError(
          absl::StrCat("tokenizer.json: 'model.", name, "' is not supported"));
    }
  }
  if (JsonHas(model, "dropout")) {
    return absl::UnimplementedError("tokenizer.json: 'model.dropout' is not supported");
  }
  return absl::OkStatus();
}

// The bytes each token stands for, and which of them words can be made of.
void SpellTokens(const Vocabulary& vocab, const DecoderRules& decoder, bool byte_level,
                 BpeOptions* options, std::vector<std::string>* pieces, TokenizerParts* parts) {
  pieces->resize(parts->token_bytes.size());
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const std::string& token = vocab.tokens[id];
    std::string& bytes = parts->token_bytes[id];
    if (byte_level) {
      const std::optional<std::string> decoded = DecodeByteAlphabet(token);
      bytes = decoded.value_or(token);
      if (decoded) (*pieces)[id] = *decoded;
      if (decoded && decoded->size() == 1) {
        options->byte_tokens[static_cast<uint8_t>((*decoded)[0])] = static_cast<TokenId>(id);
      }
      continue;
    }
    (*pieces)[id] = token;
    const std::optional<uint8_t> byte = ParseByteToken(token);
    if (byte && decoder.byte_fallback) {
      bytes.assign(1, static_cast<char>(*byte));
      continue;
    }
    bytes = token;
    for (size_t pos = 0; !decoder.space_mark.empty() &&
                         (pos = bytes.find(decoder.space_mark, pos)) != std::string::npos;
         ++pos) {
      bytes.replace(pos, decoder.space_mark.size(), " ");
    }
  }
  for (const AddedToken& token : parts->added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    parts->token_bytes[id] = token.content;
    parts->special[id] = parts->special[id] || token.special;
    if (token.special) (*pieces)[id].clear();
  }
}

absl::StatusOr<BpeOptions> ReadOptions(const JsonAt& model, const Vocabulary& vocab,
                                       bool byte_level) {
  BpeOptions options;
  options.byte_symbols = byte_level;
  options.byte_tokens.fill(kNoToken);
  PINGTI_ASSIGN_OR_RETURN(options.ignore_merges, JsonBoolOr(model, "ignore_merges", false));
  PINGTI_ASSIGN_OR_RETURN(options.fuse_unknown, JsonBoolOr(model, "fuse_unk", false));
  PINGTI_ASSIGN_OR_RETURN(const std::string unknown, JsonStringOr(model, "unk_token", ""));
  if (!unknown.empty()) {
    const auto id = vocab.ids.find(unknown);
    if (id == vocab.ids.end()) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: 'model.unk_token' is '",
                                                     unknown, "', which is not in the vocabulary"));
    }
    options.unknown = id->second;
  }
  PINGTI_ASSIGN_OR_RETURN(const bool byte_fallback, JsonBoolOr(model, "byte_fallback", false));
  if (!byte_fallback) return options;
  if (byte_level) {
    return absl::UnimplementedError(
        "tokenizer.json: 'model.byte_fallback' together with ByteLevel is not supported");
  }
  for (const auto& [token, id] : vocab.ids) {
    if (const auto byte = ParseByteToken(token)) options.byte_tokens[*byte] = id;
  }
  return options;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Build(const JsonAt& root) {
  PINGTI_ASSIGN_OR_RETURN(const JsonAt model, JsonObject(root, "model"));
  PINGTI_RETURN_IF_ERROR(RefuseUnsupported(root, model));
  TokenizerParts parts;
  PINGTI_RETURN_IF_ERROR(ReadAddedTokens(root, &parts));
  if (JsonHas(root, "normalizer")) {
    PINGTI_ASSIGN_OR_RETURN(const JsonAt at, JsonObject(root, "normalizer"));
    PINGTI_RETURN_IF_ERROR(ReadNormalizer(at, &parts.normalizer));
  }
  bool byte_level = false;
  const bool has_pre_tokenizer = JsonHas(root, "pre_tokenizer");
  if (has_pre_tokenizer) {
    PINGTI_ASSIGN_OR_RETURN(const JsonAt at, JsonObject(root, "pre_tokenizer"));
    PINGTI_RETURN_IF_ERROR(ReadPreTokenizer(at, &parts.pre_tokenizer, &byte_level));
  }
  DecoderRules decoder;
  PINGTI_ASSIGN_OR_RETURN(const JsonAt decoder_at, JsonObject(root, "decoder"));
  PINGTI_RETURN_IF_ERROR(ReadDecoder(decoder_at, &decoder));
  if (decoder.byte_level != byte_level) {
    return absl::UnimplementedError(
        "tokenizer.json: ByteLevel as only one of pre_tokenizer and decoder is not supported");
  }
  if (JsonHas(root, "post_processor")) {
    PINGTI_ASSIGN_OR_RETURN(const JsonAt at, JsonObject(root, "post_processor"));
    PostProcessorRules around;
    PINGTI_RETURN_IF_ERROR(ReadPostProcessor(at, &around));
    parts.prefix = std::move(around.prefix);
    parts.suffix = std::move(around.suffix);
  }
  PINGTI_ASSIGN_OR_RETURN(const Vocabulary vocab, ReadVocabulary(model));
  size_t size = vocab.tokens.size();
  for (const AddedToken& token : parts.added_tokens) {
    size = std::max(size, static_cast<size_t>(token.id) + 1);
  }
  for (const auto* around : {&parts.prefix, &parts.suffix}) {
    for (const TokenId id : *around) {
      if (id < 0 || static_cast<size_t>(id) >= size) {
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer.json: 'post_processor' uses id ", id, ", which no token has"));
      }
    }
  }
  parts.token_bytes.resize(size);
  parts.special.resize(size);
  parts.strips_leading_space = decoder.strips_leading_space;
  if (!parts.prefix.empty()) parts.bos_token_id = parts.prefix.front();
  if (!parts.suffix.empty()) parts.eos_token_id = parts.suffix.back();
  PINGTI_ASSIGN_OR_RETURN(BpeOptions options, ReadOptions(model, vocab, byte_level));
  PINGTI_ASSIGN_OR_RETURN(std::vector<BpeMerge> merges, ReadMerges(model, vocab));
  std::vector<std::string> pieces;
  SpellTokens(vocab, decoder, byte_level, &options, &pieces, &parts);
  if (!byte_level && !has_pre_tokenizer) {
    PINGTI_RETURN_IF_ERROR(AddSentencePieceWords(pieces, &parts.pre_tokenizer));
  }
  parts.bpe = Bpe::Make(pieces, std::move(merges), options);
  return PipelineTokenizer::Make(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeJsonTokenizer(std::string_view tokenizer_json) {
  boost::json::error_code error;
  boost::json::monotonic_resource memory;
  const boost::json::value parsed = boost::json::parse(tokenizer_json, error, &memory);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json: not valid JSON: ", error.message()));
  }
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError("tokenizer.json: expected an object");
  }
  return Build(JsonAt{"", &parsed.get_object()});
}

}  // namespace pingti::text
