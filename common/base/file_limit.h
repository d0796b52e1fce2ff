// The process's limit of open files.
#pragma once

#include <cstddef>

namespace pingti {

// Raises the soft limit to the hard one, where the system lets it, and returns what holds then.
size_t RaiseFileLimit();

}  // namespace pingti
