// See read_file.h. Read by way of streams' own operators: an iterator of a stream's buffer throws
// where a file can be opened and not read, as a directory can.
#include "common/base/read_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "common/base/strings.h"

namespace pingti {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // An empty file sets failbit on `text`, so ask `file`.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(Concat("'", path, "' cannot be read: ", std::strerror(errno)));
  }
  return std::move(text).str();
}

}  // namespace pingti
