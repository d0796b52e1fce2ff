// See file_stamp.h.
#include "common/base/file_stamp.h"

#include <sys/stat.h>

#include "common/base/strings.h"

namespace pingti {

std::string FileStamp(const std::string& path) {
  struct stat info = {};
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return "";
  return Concat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".",
                info.st_mtim.tv_nsec);
}

}  // namespace pingti
