// Waiting for another thread or process, for as long as a busy machine may need.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace pingti::testing {

// Only what fails takes this long, so it leaves room for a machine with much else to do.
inline constexpr std::chrono::seconds kPatience(180);

// Waits until `condition` holds, polling once per millisecond; false after kPatience.
inline bool WaitFor(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace pingti::testing
