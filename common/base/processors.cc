// See processors.h.
#include "common/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "common/base/strings.h"

namespace pingti {
namespace {

constexpr char kRoot[] = "/sys/fs/cgroup";
constexpr char kCpuRoot[] = "/sys/fs/cgroup/cpu";  // of version 1

// Processors, 0 without a limit.
double LimitAt(const std::string& folder) {
  double quota = 0;
  double period = 0;
  if (std::ifstream file(Concat(folder, "/cpu.max")); file >> quota >> period) {
    return quota > 0 && period > 0 ? quota / period : 0;
  }
  std::ifstream quota_file(Concat(folder, "/cpu.cfs_quota_us"));
  std::ifstream period_file(Concat(folder, "/cpu.cfs_period_us"));
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return 0;
}

// The process's group of a line of /proc/self/cgroup: "0::/group" in version 2,
// "4:cpu,cpuacct:/group" in version 1. Empty: the line is another controller's.
std::string GroupIn(const std::string& line) {
  std::istringstream fields(line);
  std::string id;
  std::string controllers;
  std::string group;
  std::getline(fields, id, ':');
  std::getline(fields, controllers, ':');
  std::getline(fields, group);
  const bool is_cpu = Concat(",", controllers, ",").find(",cpu,") != std::string::npos;
  return controllers.empty() || is_cpu ? group : std::string();
}

int ProcessorsInMask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double ProcessorLimit(const std::string& root, std::string path) {
  double least = 0;
  while (true) {
    const double limit = LimitAt(Concat(root, path == "/" ? "" : path));
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
    if (path.empty() || path == "/") return least;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

int AvailableProcessors() {
  double processors = ProcessorsInMask();
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    const std::string group = GroupIn(line);
    if (group.empty()) continue;
    for (const char* root : {kRoot, kCpuRoot}) {
      const double limit = ProcessorLimit(root, group);
      if (limit > 0) processors = std::min(processors, limit);
    }
  }
  return std::max(1, static_cast<int>(std::ceil(processors)));
}

}  // namespace pingti
