// See plain_text.h.
#include "router/pipeline/plain_text.h"

#include <algorithm>

#include "boost/json.hpp"

namespace pingti::router {
namespace {

// The longest of `tokens` at the front of `text`; empty: none.
std::string_view TokenAt(const std::vector<std::string>& tokens, std::string_view text) {
  std::string_view longest;
  for (const std::string& token : tokens) {
    if (token.size() > longest.size() && text.starts_with(token)) longest = token;
  }
  return longest;
}

std::string Marked(const std::vector<std::string>& tokens, const std::string& first_bytes,
                   std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t at = std::min(text.find_first_of(first_bytes), text.size());
    out.append(text.substr(0, at));
    text.remove_prefix(at);
    const std::string_view token = TokenAt(tokens, text);
    const size_t taken = token.empty() ? std::min<size_t>(text.size(), 1) : token.size();
    if (!token.empty()) out.append(kPlainBegin);
    out.append(text.substr(0, taken));
    if (!token.empty()) out.append(kPlainEnd);
    text.remove_prefix(taken);
  }
  return out;
}

}  // namespace

void MarkPlainText(const std::vector<std::string>& tokens, boost::json::array* messages) {
  std::string first_bytes;
  for (const std::string& token : tokens) first_bytes += token[0];
  for (boost::json::value& message : *messages) {
    boost::json::value* content = message.as_object().if_contains("content");
    boost::json::string* text = content == nullptr ? nullptr : content->if_string();
    if (text == nullptr || tokens.empty()) continue;
    *text = Marked(tokens, first_bytes, std::string_view(text->data(), text->size()));
  }
}

std::vector<TextPart> SplitPlainText(std::string_view rendered) {
  std::vector<TextPart> parts;
  while (!rendered.empty()) {
    const size_t begin = std::min(rendered.find(kPlainBegin), rendered.size());
    if (begin > 0) parts.push_back({rendered.substr(0, begin)});
    rendered.remove_prefix(begin);
    if (rendered.empty()) break;
    rendered.remove_prefix(kPlainBegin.size());
    const size_t end = std::min(rendered.find(kPlainEnd), rendered.size());
    parts.push_back({rendered.substr(0, end), /*is_plain=*/true});
    rendered.remove_prefix(std::min(end + kPlainEnd.size(), rendered.size()));
  }
  return parts;
}

}  // namespace pingti::router
