// Waiting for another thread or process, for as long as a busy machine may need.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace pingti::testing {

// Only what fails takes this long: room for a machine with much else to do, and less than a test
// program's own limit, so that the report names what did not come.
inline constexpr std::chrono::seconds kPatience(90);

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
