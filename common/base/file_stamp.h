// Whether a file is still the one that was read.
#pragma once

#include <string>

namespace pingti {

// Changes whenever the file that `path` leads to is written or replaced, also by another symbolic
// link on the way, as Kubernetes replaces what it mounts. Empty: there is no such file.
std::string FileStamp(const std::string& path);

}  // namespace pingti
