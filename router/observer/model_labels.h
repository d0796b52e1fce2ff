// Names of models as values of a label: each has a series of its own for as long as the router
// runs, and adapters come and go by any number of names.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "common/base/mutex.h"

namespace pingti::router {

// Thread-safe.
class ModelLabels {
 public:
  static constexpr size_t kMost = 256;
  static constexpr std::string_view kOther = "other";

  // `name` if it is among the first kMost that were asked for; kOther for all others. As long as
  // `name` lives.
  std::string_view Of(std::string_view name) {
    MutexLock lock(&mutex_);
    if (known_.contains(name)) return name;
    if (known_.size() == kMost) return kOther;
    known_.emplace(name);
    return name;
  }

 private:
  Mutex mutex_;
  std::set<std::string, std::less<>> known_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
