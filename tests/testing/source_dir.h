// Where tests find the repository's files (golden fixtures, the licence): the folder that the build
// was configured from, or the one that the environment variable PINGTI_SOURCE_DIR names, for test
// programs that were carried to another machine (tests/gpu/run.sh).
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

namespace pingti {

// Absolute path of a file or folder, given relative to the repository's root.
inline std::string SourcePath(std::string_view relative) {
  const char* moved = std::getenv("PINGTI_SOURCE_DIR");
  std::string path = moved != nullptr && *moved != '\0' ? moved : PINGTI_SOURCE_DIR;
  path.append("/").append(relative);
  return path;
}

}  // namespace pingti
