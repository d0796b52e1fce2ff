// Any bytes as the message of each gRPC method, through counting, parsing and validation: no crash,
// no leak, no more memory than the check allows; a refusal says why, and what is taken is within
// the limits.
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <string>
#include <string_view>

#include "common/net/wire_check.h"
#include "router/api/limits.h"
#include "router/grpc/convert.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

template <typename Request>
bool Parse(std::string_view bytes, Request* request) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  const absl::Status checked = net::CheckWire(*Request::descriptor(), bytes.size(), &stream);
  if (!checked.ok()) {
    Require(!checked.message().empty());
    return false;
  }
  return request->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

template <typename Request>
void Read(std::string_view bytes) {
  Request request;
  if (!Parse(bytes, &request)) return;
  IgnoredFields ignored;
  const absl::StatusOr<GenerationRequest> read = FromProto(request, &ignored);
  if (!read.ok()) return Require(!StatusText(read.status()).empty());
  Require(CheckLimits(*read).ok());
}

void Run(uint8_t method, std::string_view bytes) {
  switch (method % 3) {
    case 0:
      return Read<v1::ChatRequest>(bytes);
    case 1:
      return Read<v1::CompleteRequest>(bytes);
    default:
      return Read<v1::TokenizeRequest>(bytes);
  }
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  pingti::router::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
