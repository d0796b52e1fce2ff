// See write_logprobs.h.
#include "router/openai/write_logprobs.h"

#include <cmath>

#include "common/base/strings.h"
#include "router/api/json_text.h"

namespace pingti::router {
namespace {

// OpenAI's stand-in for what JSON cannot say.
constexpr float kLeastLogprob = -9999.0f;

void AppendNumber(float logprob, std::string* out) {
  *out += Concat(std::isfinite(logprob) ? logprob : kLeastLogprob);
}

// "token", "logprob" and "bytes": a token may be part of a character, so its bytes say more.
void AppendToken(std::string_view bytes, float logprob, std::string* out) {
  *out += "{\"token\":";
  AppendJsonString(bytes, out);
  *out += ",\"logprob\":";
  AppendNumber(logprob, out);
  *out += ",\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) *out += ',';
    *out += Concat(static_cast<int>(static_cast<uint8_t>(bytes[i])));
  }
  *out += ']';
}

void AppendChat(const std::vector<TokenLogprob>& logprobs, std::string* out) {
  *out += "{\"content\":[";
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (i > 0) *out += ',';
    AppendTokenLogprob(logprobs[i], out);
  }
  *out += "],\"refusal\":null}";
}

void AppendTopMap(const TokenLogprob& entry, std::string* out) {
  if (!entry.has_logprob) {
    *out += "null";
    return;
  }
  *out += '{';
  for (size_t k = 0; k < entry.top.size(); ++k) {
    if (k > 0) *out += ',';
    AppendJsonString(entry.top[k].bytes, out);
    *out += ':';
    AppendNumber(entry.top[k].logprob, out);
  }
  *out += '}';
}

template <typename AppendOne>
void AppendArray(std::string_view name, const std::vector<TokenLogprob>& logprobs, std::string* out,
                 const AppendOne& append_one) {
  *out += Concat("\"", name, "\":[");
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (i > 0) *out += ',';
    append_one(logprobs[i]);
  }
  *out += ']';
}

void AppendCompletion(const std::vector<TokenLogprob>& logprobs, std::string* out) {
  *out += '{';
  AppendArray("tokens", logprobs, out,
              [&](const TokenLogprob& entry) { AppendJsonString(entry.bytes, out); });
  *out += ',';
  AppendArray("token_logprobs", logprobs, out, [&](const TokenLogprob& entry) {
    if (entry.has_logprob) {
      AppendNumber(entry.logprob, out);
    } else {
      *out += "null";
    }
  });
  *out += ',';
  AppendArray("top_logprobs", logprobs, out,
              [&](const TokenLogprob& entry) { AppendTopMap(entry, out); });
  *out += ',';
  AppendArray("text_offset", logprobs, out,
              [&](const TokenLogprob& entry) { *out += Concat(entry.text_offset); });
  *out += '}';
}

}  // namespace

void AppendTokenLogprob(const TokenLogprob& entry, std::string* out) {
  AppendToken(entry.bytes, entry.logprob, out);
  *out += ",\"top_logprobs\":[";
  for (size_t k = 0; k < entry.top.size(); ++k) {
    if (k > 0) *out += ',';
    AppendToken(entry.top[k].bytes, entry.top[k].logprob, out);
    *out += '}';
  }
  *out += "]}";
}

void AppendLogprobs(const AnswerHead& head, const std::vector<TokenLogprob>* logprobs,
                    std::string* out) {
  if (logprobs == nullptr) {
    *out += "null";
  } else if (head.kind == GenerationRequest::Kind::kChat) {
    AppendChat(*logprobs, out);
  } else {
    AppendCompletion(*logprobs, out);
  }
}

}  // namespace pingti::router
