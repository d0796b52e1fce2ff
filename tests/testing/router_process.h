// A pingti-router of its own process, so that its CPU time can be told from the load's and the fake
// workers'.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace pingti::testing {

class RouterProcess {
 public:
  // Starts `program` and waits until it is ready. Stops this program when that takes over 10 s.
  // `more`: further arguments.
  RouterProcess(const std::string& program, const std::vector<std::string>& workers,
                const std::vector<std::string>& more = {});
  ~RouterProcess();
  RouterProcess(const RouterProcess&) = delete;
  RouterProcess& operator=(const RouterProcess&) = delete;

  uint16_t http_port() const { return http_port_; }
  // User and system time so far.
  double CpuSeconds() const;
  double ResidentMegabytes() const;

 private:
  uint16_t http_port_;
  pid_t pid_ = -1;
};

}  // namespace pingti::testing
