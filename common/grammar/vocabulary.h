// A model's tokens as a trie over their bytes, so that tokens with a common beginning are read
// together. Built once per model; immutable and thread-safe afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pingti::grammar {

class Vocabulary {
 public:
  // tokens[t] are the bytes that token t adds to a text, for control tokens those of
  // control_token.h; empty for those that no text may contain (holes in the numbering).
  // `end_token_ids` end a sequence. `num_bits` is the model's vocabulary size, at least
  // tokens.size().
  Vocabulary(std::vector<std::string> tokens, std::vector<int32_t> end_token_ids, int32_t num_bits);

  // The trie's nodes in depth-first order; children in the order of their bytes. The root, which
  // stands for no byte, is not among them.
  struct Node {
    uint8_t byte = 0;
    uint16_t depth = 0;       // 0 for a first byte
    int32_t subtree_end = 0;  // the first node that is not below this one
    int32_t first_token = 0;  // of sorted_tokens(); up to the next node's first_token
  };
  int32_t num_nodes() const { return static_cast<int32_t>(nodes_.size()) - 1; }
  const Node& node(int32_t index) const { return nodes_[index]; }
  // Tokens that end at a node.
  std::span<const int32_t> tokens_at(int32_t index) const {
    return std::span(sorted_).subspan(nodes_[index].first_token,
                                      nodes_[index + 1].first_token - nodes_[index].first_token);
  }

  int32_t num_bits() const { return num_bits_; }
  size_t mask_words() const { return (static_cast<size_t>(num_bits_) + 31) / 32; }
  int32_t max_depth() const { return max_depth_; }
  std::span<const int32_t> end_token_ids() const { return end_token_ids_; }
  bool is_end_token(int32_t token) const;
  // Empty for tokens that no text may contain and ids out of range.
  std::string_view bytes(int32_t token) const;

 private:
  const std::vector<std::string> tokens_;
  const std::vector<int32_t> end_token_ids_;
  const int32_t num_bits_;
  int32_t max_depth_ = 0;
  std::vector<int32_t> sorted_;  // by bytes
  std::vector<Node> nodes_;      // and one that ends the last one's tokens
};

}  // namespace pingti::grammar
