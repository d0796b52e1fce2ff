// See pipeline_tokenizer.h.
#include "common/text/pipeline_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/text/utf8.h"

namespace pingti::text {

struct PipelineTokenizer::Call {
  Call(bool parse, std::vector<TokenId>* out) : parse_special(parse), ids(out) {}

  bool parse_special;
  std::vector<TokenId>* ids;
  bool starts_text = true;     // the next section starts the text
  bool after_invalid = false;  // the next section follows bytes that were not UTF-8
  RegexScratch regex;
  Bpe::Scratch bpe;
  std::vector<AddedTokenTrie::Section> raw_sections, sections;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> PipelineTokenizer::Make(TokenizerParts parts) {
  PINGTI_CHECK(parts.bpe.has_value());
  PINGTI_CHECK(parts.special.size() == parts.token_bytes.size());
  std::unique_ptr<PipelineTokenizer> made(new PipelineTokenizer(std::move(parts)));
  const TokenizerParts& p = made->parts_;
  made->spellings_.Reserve(p.token_bytes.size() + p.added_tokens.size());
  for (const AddedToken& token : p.added_tokens) {
    made->spellings_.Insert(token.content, token.id);
    if (!token.normalized) {
      made->raw_added_.Insert(token.content, &token);
      continue;
    }
    PINGTI_ASSIGN_OR_RETURN(const std::string spelling, p.normalizer.Apply(token.content, true));
    made->normalized_added_.Insert(spelling, &token);
    made->has_normalized_added_ = true;
  }
  for (size_t id = 0; id < p.token_bytes.size(); ++id) {
    if (!p.token_bytes[id].empty()) {
      made->spellings_.Insert(p.token_bytes[id], static_cast<TokenId>(id));
    }
  }
  return std::unique_ptr<Tokenizer>(std::move(made));
}

absl::Status PipelineTokenizer::Encode(std::string_view text, const EncodeOptions& options,
                                       std::vector<TokenId>* ids) const {
  Call call(options.parse_special_tokens, ids);
  if (options.add_special_tokens) {
    ids->insert(ids->end(), parts_.prefix.begin(), parts_.prefix.end());
  }
  while (!text.empty()) {
    const size_t valid = ValidUtf8Prefix(text);
    if (valid > 0) PINGTI_RETURN_IF_ERROR(EncodeValid(text.substr(0, valid), &call));
    text.remove_prefix(valid);
    while (!text.empty()) {
      const DecodedChar c = DecodeUtf8(text);
      if (c.valid) break;
      parts_.bpe->EncodeBytes(text.substr(0, c.length), ids);
      text.remove_prefix(c.length);
      call.starts_text = false;
      call.after_invalid = true;
    }
  }
  if (options.add_special_tokens) {
    ids->insert(ids->end(), parts_.suffix.begin(), parts_.suffix.end());
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeValid(std::string_view text, Call* call) const {
  call->raw_sections.clear();
  raw_added_.Split(text, call->parse_special, &call->raw_sections);
  for (const AddedTokenTrie::Section& section : call->raw_sections) {
    if (section.token != nullptr) {
      call->ids->push_back(section.token->id);
    } else if (parts_.normalizer.empty()) {
      PINGTI_RETURN_IF_ERROR(EncodeSection(section.text, call));
    } else {
      PINGTI_ASSIGN_OR_RETURN(const std::string normalized,
                              parts_.normalizer.Apply(section.text, !call->after_invalid));
      PINGTI_RETURN_IF_ERROR(EncodeSection(normalized, call));
    }
    call->starts_text = false;
    call->after_invalid = false;
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeSection(std::string_view text, Call* call) const {
  if (!has_normalized_added_) return EncodeWords(text, call);
  call->sections.clear();
  normalized_added_.Split(text, call->parse_special, &call->sections);
  for (const AddedTokenTrie::Section& section : call->sections) {
    if (section.token != nullptr) {
      call->ids->push_back(section.token->id);
    } else {
      PINGTI_RETURN_IF_ERROR(EncodeWords(section.text, call));
    }
    call->starts_text = false;
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeWords(std::string_view text, Call* call) const {
  return parts_.pre_tokenizer.Apply(
      {text, call->starts_text}, &call->regex,
      [&](std::string_view word) { parts_.bpe->Encode(word, &call->bpe, call->ids); });
}

std::string_view PipelineTokenizer::TokenBytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return parts_.token_bytes[static_cast<size_t>(id)];
}

bool PipelineTokenizer::IsSpecial(TokenId id) const {
  return id >= 0 && id < vocab_size() && parts_.special[static_cast<size_t>(id)];
}

std::optional<TokenId> PipelineTokenizer::FindToken(std::string_view token) const {
  const TokenId id = spellings_.Find(token);
  if (id == kNoToken) return std::nullopt;
  return id;
}

}  // namespace pingti::text
