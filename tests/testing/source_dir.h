// Where tests find the repository's files (golden fixtures, the licence): the folder that the build
// was configured from, or the one that the environment variable PINGTI_SOURCE_DIR names, for test
// programs that were carried to another machine (tests/gpu/run.sh).
#pragma once

#include <string>
#include <string_view>

namespace pingti {

// Absolute path of a file or folder, given relative to the repository's root.
std::string SourcePath(std::string_view relative);

}  // namespace pingti
