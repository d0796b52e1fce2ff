// See wire_check.h.
#include "common/net/wire_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <string>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

// What parts take in memory at most, allocation included: the test holds them against protobuf.
constexpr size_t kNumberBytes = 32;  // or the entry of an unknown field
constexpr size_t kTextBytes = 64;    // beside its content
size_t ObjectBytes(const Descriptor& type) {
  return 64 + 16 * static_cast<size_t>(type.field_count());
}

// What a byte of a text becomes, or of a packed list of numbers: each has at least one here.
size_t ParsedPerByte(const FieldDescriptor* field) {
  if (field == nullptr || !field->is_packable()) return 1;
  switch (field->type()) {
    case FieldDescriptor::TYPE_INT64:
    case FieldDescriptor::TYPE_UINT64:
    case FieldDescriptor::TYPE_SINT64:
      return sizeof(uint64_t);
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
    case FieldDescriptor::TYPE_FLOAT:
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
    case FieldDescriptor::TYPE_DOUBLE:
      return 1;
    default:
      return sizeof(uint32_t);
  }
}

class Walker {
 public:
  Walker(size_t most, google::protobuf::io::ZeroCopyInputStream* bytes) : left_(most), in_(bytes) {}

  // Up to the end of the innermost part that was begun.
  absl::Status Walk(const Descriptor& type) {
    while (const uint32_t tag = in_.ReadTag()) {
      const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      PINGTI_RETURN_IF_ERROR(WalkField(type, tag, field));
    }
    return in_.ConsumedEntireMessage() ? absl::OkStatus() : Malformed(type);
  }

 private:
  static absl::Status Malformed(const Descriptor& type) {
    return absl::InvalidArgumentError(Concat("the bytes are no ", type.full_name()));
  }

  absl::Status Spend(const Descriptor& type, const FieldDescriptor* field, size_t bytes) {
    if (bytes <= left_) {
      left_ -= bytes;
      return absl::OkStatus();
    }
    const std::string at =
        field == nullptr ? Concat("an unknown field of ", type.full_name()) : field->full_name();
    return absl::InvalidArgumentError(Concat("the message has too many values, at ", at,
                                             ": expected fewer than take ", kParsedBytes >> 20,
                                             " MiB beside ", kParsedPerByte, " times its bytes"));
  }

  absl::Status WalkField(const Descriptor& type, uint32_t tag, const FieldDescriptor* field) {
    uint64_t ignored;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        if (!in_.ReadVarint64(&ignored)) return Malformed(type);
        break;
      case WireFormatLite::WIRETYPE_FIXED32:
        if (!in_.Skip(4)) return Malformed(type);
        break;
      case WireFormatLite::WIRETYPE_FIXED64:
        if (!in_.Skip(8)) return Malformed(type);
        break;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        return WalkPart(type, field);
      default:  // groups, which none of our messages has, and what is no wire type
        return Malformed(type);
    }
    return Spend(type, field, kNumberBytes);
  }

  absl::Status WalkPart(const Descriptor& type, const FieldDescriptor* field) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) return Malformed(type);
    if (field == nullptr || field->message_type() == nullptr) {
      const size_t bytes = static_cast<size_t>(length) * ParsedPerByte(field);
      PINGTI_RETURN_IF_ERROR(Spend(type, field, kTextBytes + bytes));
      return in_.Skip(length) ? absl::OkStatus() : Malformed(type);
    }
    PINGTI_RETURN_IF_ERROR(Spend(type, field, ObjectBytes(*field->message_type())));
    const auto [limit, depth_left] = in_.IncrementRecursionDepthAndPushLimit(length);
    if (depth_left < 0) return Malformed(type);
    PINGTI_RETURN_IF_ERROR(Walk(*field->message_type()));
    return in_.DecrementRecursionDepthAndPopLimit(limit) ? absl::OkStatus() : Malformed(type);
  }

  size_t left_;
  google::protobuf::io::CodedInputStream in_;
};

}  // namespace

absl::Status CheckWire(const Descriptor& type, size_t size,
                       google::protobuf::io::ZeroCopyInputStream* bytes) {
  return Walker(kParsedBytes + kParsedPerByte * size, bytes).Walk(type);
}

absl::Status ParseChecked(grpc::ByteBuffer* bytes, google::protobuf::Message* message) {
  const Descriptor& type = *message->GetDescriptor();
  const auto check = [&] {
    grpc::ProtoBufferReader checked(bytes);
    return CheckWire(type, bytes->Length(), &checked);
  };
  const bool is_small = bytes->Length() < kSmallMessageBytes;
  if (!is_small) PINGTI_RETURN_IF_ERROR(check());
  grpc::ProtoBufferReader parsed(bytes);
  if (message->ParseFromZeroCopyStream(&parsed)) return absl::OkStatus();
  if (is_small) PINGTI_RETURN_IF_ERROR(check());  // says what is wrong
  return absl::InvalidArgumentError(
      Concat("the bytes are no ", type.full_name(), ", or a text is not UTF-8"));
}

grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.ByteSizeLong());
  // Nobody else has the slice yet.
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace pingti::net
