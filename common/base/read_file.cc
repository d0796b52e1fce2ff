// See read_file.h. Read by way of streams' own functions: an iterator of a stream's buffer throws
// where a file can be opened and not read, as a directory can.
#include "common/base/read_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/status/status.h"
#include "common/base/strings.h"

namespace pingti {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  char piece[64 << 10];
  while (file && text.size() <= kMaxReadFileBytes) {
    file.read(piece, sizeof(piece));
    text.append(piece, static_cast<size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(Concat("'", path, "' cannot be read: ", std::strerror(errno)));
  }
  if (text.size() > kMaxReadFileBytes) {
    return absl::OutOfRangeError(
        Concat("'", path, "' has more than the ", kMaxReadFileBytes, " bytes that are read"));
  }
  return text;
}

}  // namespace pingti
