// See wire_check.h.
#include "router/grpc/wire_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <string>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

class Walker {
 public:
  explicit Walker(google::protobuf::io::ZeroCopyInputStream* bytes) : in_(bytes) {}

  // Up to the end of the innermost part that was begun.
  absl::Status Walk(const Descriptor& type) {
    while (const uint32_t tag = in_.ReadTag()) {
      const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      if (++fields_ > kMaxWireFields) return TooMany(type, field);
      PINGTI_RETURN_IF_ERROR(WalkField(type, tag, field));
    }
    return in_.ConsumedEntireMessage() ? absl::OkStatus() : Malformed(type);
  }

 private:
  static absl::Status Malformed(const Descriptor& type) {
    return absl::InvalidArgumentError(Concat("the bytes are no ", type.full_name()));
  }

  static absl::Status TooMany(const Descriptor& type, const FieldDescriptor* field) {
    const std::string at =
        field == nullptr ? Concat("unknown fields of ", type.full_name()) : field->full_name();
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("the request has more than ", kMaxWireFields, " fields, at ", at), "",
                    "too_many_values");
  }

  absl::Status WalkField(const Descriptor& type, uint32_t tag, const FieldDescriptor* field) {
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT: {
        uint64_t ignored;
        return in_.ReadVarint64(&ignored) ? absl::OkStatus() : Malformed(type);
      }
      case WireFormatLite::WIRETYPE_FIXED32:
        return in_.Skip(4) ? absl::OkStatus() : Malformed(type);
      case WireFormatLite::WIRETYPE_FIXED64:
        return in_.Skip(8) ? absl::OkStatus() : Malformed(type);
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        return WalkPart(type, field);
      default:  // groups, which no message of this API has, and what is no wire type
        return Malformed(type);
    }
  }

  absl::Status WalkPart(const Descriptor& type, const FieldDescriptor* field) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) return Malformed(type);
    if (field == nullptr || field->message_type() == nullptr) {
      return in_.Skip(length) ? absl::OkStatus() : Malformed(type);
    }
    const auto [limit, depth_left] = in_.IncrementRecursionDepthAndPushLimit(length);
    if (depth_left < 0) return Malformed(type);
    PINGTI_RETURN_IF_ERROR(Walk(*field->message_type()));
    return in_.DecrementRecursionDepthAndPopLimit(limit) ? absl::OkStatus() : Malformed(type);
  }

  google::protobuf::io::CodedInputStream in_;
  size_t fields_ = 0;
};

}  // namespace

absl::Status CheckWire(const Descriptor& type, google::protobuf::io::ZeroCopyInputStream* bytes) {
  return Walker(bytes).Walk(type);
}

}  // namespace pingti::router
