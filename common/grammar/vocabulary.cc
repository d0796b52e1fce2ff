// See vocabulary.h.
#include "common/grammar/vocabulary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/check.h"

namespace pingti::grammar {
namespace {

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t length = 0;
  while (length < most && a[length] == b[length]) ++length;
  return length;
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::string> tokens, std::vector<int32_t> end_token_ids,
                       int32_t num_bits)
    : tokens_(std::move(tokens)), end_token_ids_(std::move(end_token_ids)), num_bits_(num_bits) {
  PINGTI_CHECK(tokens_.size() <= static_cast<size_t>(num_bits_));
  for (size_t t = 0; t < tokens_.size(); ++t) {
    const size_t size = tokens_[t].size();
    if (size == 0 || size > std::numeric_limits<uint16_t>::max()) continue;
    if (is_end_token(static_cast<int32_t>(t))) continue;
    sorted_.push_back(static_cast<int32_t>(t));
  }
  std::sort(sorted_.begin(), sorted_.end(),
            [this](int32_t a, int32_t b) { return tokens_[a] < tokens_[b]; });
  std::vector<int32_t> path;  // the open nodes, by depth
  const auto close_to = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[path.back()].subtree_end = static_cast<int32_t>(nodes_.size());
    }
  };
  std::string_view previous;
  for (size_t i = 0; i < sorted_.size(); ++i) {
    const std::string_view token = tokens_[sorted_[i]];
    close_to(CommonPrefix(previous, token));
    for (size_t depth = path.size(); depth < token.size(); ++depth) {
      path.push_back(static_cast<int32_t>(nodes_.size()));
      Node node;
      node.byte = static_cast<uint8_t>(token[depth]);
      node.depth = static_cast<uint16_t>(depth);
      node.first_token = static_cast<int32_t>(i);
      nodes_.push_back(node);
    }
    max_depth_ = std::max(max_depth_, static_cast<int32_t>(token.size()));
    previous = token;
  }
  close_to(0);
  Node end;
  end.subtree_end = static_cast<int32_t>(nodes_.size()) + 1;
  end.first_token = static_cast<int32_t>(sorted_.size());
  nodes_.push_back(end);
}

bool Vocabulary::is_end_token(int32_t token) const {
  return std::find(end_token_ids_.begin(), end_token_ids_.end(), token) != end_token_ids_.end();
}

std::string_view Vocabulary::bytes(int32_t token) const {
  if (token < 0 || static_cast<size_t>(token) >= tokens_.size()) return {};
  return tokens_[token];
}

}  // namespace pingti::grammar
