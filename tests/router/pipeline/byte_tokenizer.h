// A tokenizer without a file: ids are bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/tokenizer.h"

namespace pingti::router {

class ByteTokenizer final : public text::Tokenizer {
 public:
  ByteTokenizer() {
    for (int byte = 0; byte < 256; ++byte)
      bytes_.push_back(std::string(1, static_cast<char>(byte)));
  }
  absl::Status Encode(std::string_view text, const text::EncodeOptions&,
                      std::vector<text::TokenId>* ids) const override {
    for (const char c : text) ids->push_back(static_cast<uint8_t>(c));
    return absl::OkStatus();
  }
  std::string_view TokenBytes(text::TokenId id) const override {
    return bytes_[static_cast<size_t>(id)];
  }
  bool IsSpecial(text::TokenId) const override { return false; }
  bool StripsLeadingSpace() const override { return false; }
  std::optional<text::TokenId> FindToken(std::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return 256; }
  std::optional<text::TokenId> bos_token_id() const override { return std::nullopt; }
  std::optional<text::TokenId> eos_token_id() const override { return std::nullopt; }

 private:
  std::vector<std::string> bytes_;
};

}  // namespace pingti::router
