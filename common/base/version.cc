// PINGTI_VERSION comes from the root CMakeLists.txt; only this file is compiled with it.
#include "common/base/version.h"

namespace pingti {

std::string_view Version() { return PINGTI_VERSION; }

}  // namespace pingti
