#include "tests/testing/source_dir.h"

#include <cstdlib>

namespace pingti {

std::string SourcePath(std::string_view relative) {
  const char* moved = std::getenv("PINGTI_SOURCE_DIR");
  std::string path = moved != nullptr && *moved != '\0' ? moved : PINGTI_SOURCE_DIR;
  path.append("/").append(relative);
  return path;
}

}  // namespace pingti
