// Looks at a protobuf message as it came in, before anything is made of it.
#pragma once

#include <cstddef>

#include "absl/status/status.h"

namespace google::protobuf {
class Descriptor;
namespace io {
class ZeroCopyInputStream;
}  // namespace io
}  // namespace google::protobuf

namespace pingti::router {

// Fields that one message may have, those of its parts counted too. More than any request within
// router/api/limits.h has; each takes at most about 200 bytes beside its own text. The numbers of a
// packed list count as one field: they take at most four times their bytes.
inline constexpr size_t kMaxWireFields = 1u << 18;

// Walks the bytes of a message of type `type`, and allocates nothing. Errors: InvalidArgument when
// they are no such message, or have too many fields: it names the part where there came to be so
// many.
absl::Status CheckWire(const google::protobuf::Descriptor& type,
                       google::protobuf::io::ZeroCopyInputStream* bytes);

}  // namespace pingti::router
