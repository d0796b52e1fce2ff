// Looks at a protobuf message as it came in, before anything is made of it.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"

namespace google::protobuf {
class Descriptor;
class Message;
namespace io {
class ZeroCopyInputStream;
}  // namespace io
}  // namespace google::protobuf

namespace pingti::net {

// What a parsed message may take: so much, and kParsedPerByte times its bytes on the wire. The
// rule for JSON bodies is the same.
inline constexpr size_t kParsedBytes = 64u << 20;
inline constexpr size_t kParsedPerByte = 4;

// Walks the bytes of a message of type `type`, `size` in all, and adds up what its parts would take
// in memory; allocates nothing. Parsing is stricter about other things. Errors: InvalidArgument
// when they are no such message, or would take more than they may: it names the field where they
// came to.
absl::Status CheckWire(const google::protobuf::Descriptor& type, size_t size,
                       google::protobuf::io::ZeroCopyInputStream* bytes);

// No message with fewer bytes takes more than it may, whatever its parts are.
inline constexpr size_t kSmallMessageBytes = 128u << 10;

// Parses `bytes` if the check allows it, which is not asked where they are too few to fail it.
// Errors: those of CheckWire; InvalidArgument.
absl::Status ParseChecked(grpc::ByteBuffer* bytes, google::protobuf::Message* message);

// The message as one buffer.
grpc::ByteBuffer Serialize(const google::protobuf::Message& message);

}  // namespace pingti::net
