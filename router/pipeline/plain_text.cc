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

class Marker {
 public:
  explicit Marker(const std::vector<std::string>& tokens) : tokens_(tokens) {
    for (const std::string& token : tokens) first_bytes_ += token[0];
  }

  // Every text within `value`; not the names of members.
  void Mark(boost::json::value* value) const {
    if (boost::json::string* text = value->if_string()) {
      *text = Marked(std::string_view(text->data(), text->size()));
    } else if (boost::json::array* list = value->if_array()) {
      for (boost::json::value& element : *list) Mark(&element);
    } else if (boost::json::object* object = value->if_object()) {
      for (auto& member : *object) Mark(&member.value());
    }
  }

 private:
  std::string Marked(std::string_view text) const {
    std::string out;
    while (!text.empty()) {
      const size_t at = std::min(text.find_first_of(first_bytes_), text.size());
      out.append(text.substr(0, at));
      text.remove_prefix(at);
      const std::string_view token = TokenAt(tokens_, text);
      const size_t taken = token.empty() ? std::min<size_t>(text.size(), 1) : token.size();
      if (!token.empty()) out.append(kPlainBegin);
      out.append(text.substr(0, taken));
      if (!token.empty()) out.append(kPlainEnd);
      text.remove_prefix(taken);
    }
    return out;
  }

  const std::vector<std::string>& tokens_;
  std::string first_bytes_;
};

}  // namespace

void MarkPlainText(const std::vector<std::string>& tokens, boost::json::array* messages) {
  if (tokens.empty()) return;
  const Marker marker(tokens);
  for (boost::json::value& value : *messages) {
    boost::json::object& message = value.as_object();
    for (const char* member : {"content", "reasoning_content", "thinking"}) {
      if (boost::json::value* text = message.if_contains(member)) marker.Mark(text);
    }
    boost::json::value* calls = message.if_contains("tool_calls");
    if (calls == nullptr) continue;
    for (boost::json::value& call : calls->as_array()) {
      marker.Mark(&call.as_object().at("function").as_object().at("arguments"));
    }
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
