// Any bytes, in pieces of any size, into one connection of the HTTP server: no crash, no leak, no
// request beyond the limits, an answer or a reason for whoever asked, and the connection ends.
#include <string>
#include <string_view>

#include "tests/fuzz/http/one_connection.h"

namespace pingti::net {
namespace {

constexpr size_t kMaxHeader = 2048;
constexpr size_t kMaxBody = 4096;

// Answers in each way there is, by the path's last letter.
void Answer(HttpRequest request, std::shared_ptr<HttpResponder> responder) {
  Require(!request.method.empty() && request.body.size() <= kMaxBody);
  size_t header_bytes = 0;
  for (const auto& [name, value] : request.headers) header_bytes += name.size() + value.size();
  Require(header_bytes <= 2 * kMaxHeader);
  Require(request.path.find('\0') == std::string::npos);
  switch (request.path.empty() ? '/' : request.path.back()) {
    case 'a':
      return;  // abandoned
    case 's':
      responder->StartStream({});
      responder->Write(request.body);
      responder->Write("x");
      return responder->EndStream();
    case 't':
      responder->StartStream({});
      responder->Write("cut short");
      return;
    default:
      responder->Send({.body = request.body});
  }
}

void Run(std::string_view input) {
  if (input.empty()) return;
  const size_t piece_size = 1 + static_cast<uint8_t>(input.front()) * 4u;
  input.remove_prefix(1);
  HttpServerState state;
  state.options.max_header_bytes = kMaxHeader;
  state.options.max_body_bytes = kMaxBody;
  state.handler = &Answer;
  const std::string answers = Converse(&state, input, piece_size);
  Require(answers.empty() || answers.starts_with("HTTP/1.1 "));
}

}  // namespace
}  // namespace pingti::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pingti::net::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
