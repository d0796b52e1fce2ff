// A chunked body of any bytes, in pieces of any size: what the server takes is what a reader that
// was written from RFC 9112, section 7.1, finds there, within the limits; all memory is given back.
#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/memory_budget.h"
#include "tests/fuzz/http/one_connection.h"

namespace pingti::net {
namespace {

constexpr size_t kMaxBody = 4096;
constexpr std::string_view kHead =
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

// The content when all chunks are there and the last one is: trailers are not looked at.
std::optional<std::string> ReadChunks(std::string_view in) {
  std::string content;
  while (true) {
    uint64_t size = 0;
    size_t digits = 0;
    for (; digits < in.size() && std::isxdigit(static_cast<unsigned char>(in[digits])); ++digits) {
      const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(in[digits])));
      if (size >> 60 != 0) return std::nullopt;
      size = size * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    const size_t end = in.find("\r\n");
    if (digits == 0 || end == std::string_view::npos) return std::nullopt;
    in.remove_prefix(end + 2);
    if (size == 0) return content;
    if (in.size() < size + 2 || in.substr(size, 2) != "\r\n") return std::nullopt;
    content += in.substr(0, size);
    in.remove_prefix(size + 2);
  }
}

void Run(std::string_view input) {
  if (input.empty()) return;
  const size_t piece_size = 1 + static_cast<uint8_t>(input.front()) * 4u;
  input.remove_prefix(1);
  MemoryBudget budget(4 * kMaxBody);
  std::optional<std::string> taken;
  HttpServerState state;
  state.options.max_header_bytes = 2048;
  state.options.max_body_bytes = kMaxBody;
  state.options.body_budget = &budget;
  state.handler = [&](HttpRequest request, std::shared_ptr<HttpResponder> responder) {
    Require(budget.used() >= request.body.size());
    taken = request.body;
    responder->Send({.body = "taken"});
  };
  const std::string answers = Converse(&state, std::string(kHead) + std::string(input), piece_size);
  Require(answers.empty() || answers.starts_with("HTTP/1.1 "));
  Require(budget.used() == 0);
  if (!taken.has_value()) return;
  Require(taken->size() <= kMaxBody);
  Require(taken == ReadChunks(input));
}

}  // namespace
}  // namespace pingti::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pingti::net::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
