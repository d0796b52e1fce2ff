// Any bytes through byte-level tokenizers of each family: encoding then joining the tokens' bytes
// gives the bytes back where nothing is normalized, and the detokenizer shows them as UTF-8.
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/detokenizer.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"

namespace {

using pingti::text::GgufTokenizerData;
using pingti::text::TokenId;
using pingti::text::Tokenizer;

// One token a byte in GPT-2's spelling, a few merges, two control tokens.
std::unique_ptr<Tokenizer> Make(const char* family) {
  GgufTokenizerData data;
  data.model = "gpt2";
  data.pre = family;
  data.tokens = {"<|end|>", "<|im_start|>"};
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int spelled = printable ? byte : next++;
    std::string token;
    if (spelled < 0x80) {
      token = static_cast<char>(spelled);
    } else {
      token += static_cast<char>(0xC0 | spelled >> 6);
      token += static_cast<char>(0x80 | (spelled & 0x3F));
    }
    data.tokens.push_back(token);
  }
  for (const auto& [left, right] : {std::pair{"a", "a"},
                                    {"aa", "aa"},
                                    {"1", "2"},
                                    {"\u0120", "\u0120"},
                                    {"\u0120", "a"},
                                    {"t", "h"},
                                    {"th", "e"}}) {
    data.merges.push_back(std::string(left) + " " + right);
    data.tokens.push_back(std::string(left) + right);
  }
  data.token_types.assign(data.tokens.size(), 1);
  data.token_types[0] = data.token_types[1] = 3;
  auto made = MakeGgufTokenizer(std::move(data));
  if (!made.ok()) abort();
  return std::move(*made);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The last one normalizes, so its tokens need not spell the input.
  static const std::unique_ptr<Tokenizer> tokenizers[] = {
      Make("gpt-2"),        Make("smollm"),         Make("llama-bpe"), Make("deepseek-v3"),
      Make("deepseek-llm"), Make("deepseek-coder"), Make("qwen2")};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& tokenizer : tokenizers) {
    for (const bool parse_special : {true, false}) {
      std::vector<TokenId> ids;
      if (!tokenizer->Encode(text, {.parse_special_tokens = parse_special}, &ids).ok()) abort();
      std::string joined, shown;
      pingti::text::Detokenizer detokenizer(tokenizer.get(), false);
      for (const TokenId id : ids) {
        joined += tokenizer->TokenBytes(id);
        const std::string part = detokenizer.Push(id);
        if (pingti::text::ValidUtf8Prefix(part) != part.size()) abort();
        shown += part;
        if (!parse_special && tokenizer->IsSpecial(id)) abort();
      }
      shown += detokenizer.Finish();
      if (shown != pingti::text::ReplaceInvalidUtf8(joined)) abort();
      if (&tokenizer != std::end(tokenizers) - 1 && joined != text) abort();
    }
  }
  return 0;
}
