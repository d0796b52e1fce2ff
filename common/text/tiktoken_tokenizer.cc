// Builds a tokenizer from a tiktoken file: one "<base64 of the token's bytes> <rank>" a line.
// Source: openai/tiktoken, load.py and _educational.py; QWen's tokenization_qwen.py.
#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/patterns.h"
#include "common/text/pipeline_tokenizer.h"
#include "common/text/sentence_piece.h"
#include "common/text/tokenizer.h"

namespace pingti::text {
namespace {

// Ranks are ids; a file cannot make the tables larger than this.
constexpr int32_t kMaxRank = 4'000'000;

absl::Status ReadLine(std::string_view line, size_t number, std::vector<std::string>* pieces) {
  const size_t space = line.find(' ');
  int32_t rank = -1;
  std::string bytes;
  const std::string encoded(line.substr(0, space));
  if (space != std::string_view::npos) {
    const char* end = line.data() + line.size();
    const auto parsed = std::from_chars(line.data() + space + 1, end, rank);
    if (parsed.ec != std::errc() || parsed.ptr != end) rank = -1;
  }
  if (rank < 0 || rank >= kMaxRank || !absl::Base64Unescape(encoded, &bytes) || bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tiktoken file, line ", number, ": expected a base64 token, a space and a rank"));
  }
  const auto id = static_cast<size_t>(rank);
  if (id >= pieces->size()) pieces->resize(id + 1);
  if (!(*pieces)[id].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tiktoken file, line ", number, ": rank ", rank, " appears twice"));
  }
  (*pieces)[id] = std::move(bytes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTiktokenTokenizer(std::string_view file,
                                                                 TiktokenOptions options) {
  std::vector<std::string> pieces;
  size_t number = 0;
  while (!file.empty()) {
    const size_t newline = std::min(file.find('\n'), file.size());
    std::string_view line = file.substr(0, newline);
    file.remove_prefix(std::min(newline + 1, file.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) PINGTI_RETURN_IF_ERROR(ReadLine(line, number, &pieces));
  }
  if (pieces.empty()) return absl::InvalidArgumentError("tiktoken file has no tokens");
  TokenizerParts parts;
  BpeOptions bpe;
  bpe.ignore_merges = true;
  bpe.byte_tokens.fill(kNoToken);
  std::vector<int32_t> ranks(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    ranks[i] = static_cast<int32_t>(i);
    if (pieces[i].size() == 1) {
      bpe.byte_tokens[static_cast<uint8_t>(pieces[i][0])] = static_cast<TokenId>(i);
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    if (bpe.byte_tokens[byte] == kNoToken) {
      return absl::InvalidArgumentError(absl::StrCat("tiktoken file has no token for byte ", byte));
    }
  }
  PINGTI_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(options.split_pattern));
  parts.pre_tokenizer.Add(SplitByRegex(std::move(regex), SplitBehavior::kIsolated, false));
  if (options.normalize_nfc) parts.normalizer.Add(UnicodeFormStep(UnicodeForm::kNfc));
  parts.bpe = Bpe::Make(pieces, MergesFromPieces(pieces, ranks, /*at_characters=*/false), bpe);
  parts.token_bytes = std::move(pieces);
  parts.special.resize(parts.token_bytes.size());
  for (std::string& token : options.special_tokens) {
    if (token.empty()) return absl::InvalidArgumentError("a special token is empty");
    const auto id = static_cast<TokenId>(parts.token_bytes.size());
    parts.token_bytes.push_back(token);
    parts.special.push_back(true);
    parts.added_tokens.push_back({.id = id, .content = std::move(token), .special = true});
  }
  return PipelineTokenizer::Make(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeQwenTokenizer(std::string_view file) {
  TiktokenOptions options;
  options.split_pattern = kQwen2Pattern;
  options.special_tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  for (int i = 0; i <= 204; ++i) {
    options.special_tokens.push_back(absl::StrCat("<|extra_", i, "|>"));
  }
  options.normalize_nfc = true;
  return MakeTiktokenTokenizer(file, std::move(options));
}

}  // namespace pingti::text
