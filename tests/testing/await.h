// Waiting for another thread's word. One that does not come ends the program and says what it
// waited for: the thread that owes it cannot be joined any more, so that nothing else would end.
#pragma once

#include <cstdlib>
#include <functional>
#include <future>
#include <iostream>
#include <string_view>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "tests/testing/wait_for.h"

namespace pingti::testing {

[[noreturn]] inline void DieWaiting(std::string_view what) {
  std::cerr << "waited " << kPatience.count() << " s for " << what << std::endl;
  std::abort();
}

template <typename T>
T AwaitOrDie(std::future<T> future, std::string_view what) {
  if (future.wait_for(kPatience) != std::future_status::ready) DieWaiting(what);
  return future.get();
}

inline void AwaitOrDie(const absl::Notification& notification, std::string_view what) {
  if (!notification.WaitForNotificationWithTimeout(absl::FromChrono(kPatience))) DieWaiting(what);
}

inline void AwaitOrDie(const std::function<bool()>& condition, std::string_view what) {
  if (!WaitFor(condition)) DieWaiting(what);
}

}  // namespace pingti::testing
