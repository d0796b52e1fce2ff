// Reads /proc/self (proc(5)): stat fields 14, 15 (user and system ticks), 20 (threads), 22 (start,
// in ticks after boot), 23 (virtual bytes), 24 (resident pages).
#include "common/metrics/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/log.h"
#include "common/metrics/metrics.h"

namespace pingti::metrics {
namespace {

struct ProcStat {
  double cpu_ticks = 0;
  double threads = 0;
  double start_ticks = 0;
  double virtual_bytes = 0;
  double resident_pages = 0;
};

std::optional<ProcStat> ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  // The second field is the program's name in parentheses and may contain blanks.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0, system = 0;
  ProcStat stat;
  fields >> user >> system;
  for (int field = 16; field < 20; ++field) fields >> skipped;
  fields >> stat.threads >> skipped >> stat.start_ticks >> stat.virtual_bytes >>
      stat.resident_pages;
  if (!fields) return std::nullopt;
  stat.cpu_ticks = user + system;
  return stat;
}

// Seconds since the epoch at which the machine was booted.
std::optional<double> ReadBootTime() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
    std::getline(file, word);
  }
  return std::nullopt;
}

std::optional<double> CountOpenDescriptors() {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  double count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(directory);
  return count - 1;  // less the one that looks
}

prometheus::MetricFamily OneValueFamily(std::string_view name, std::string_view help,
                                        prometheus::MetricType type, double value) {
  prometheus::MetricFamily family;
  family.name = std::string(name);
  family.help = std::string(help);
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  const auto counter = [&](const CounterSpec<0>& spec, double value) {
    families.push_back(
        OneValueFamily(spec.name, spec.help, prometheus::MetricType::Counter, value));
  };
  const auto gauge = [&](const GaugeSpec<0>& spec, double value) {
    families.push_back(OneValueFamily(spec.name, spec.help, prometheus::MetricType::Gauge, value));
  };
  const double ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (const std::optional<ProcStat> stat = ReadStat()) {
    counter(kProcessCpu, stat->cpu_ticks / ticks_per_second);
    gauge(kProcessResidentMemory,
          stat->resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    gauge(kProcessVirtualMemory, stat->virtual_bytes);
    gauge(kProcessThreads, stat->threads);
    if (const std::optional<double> boot = ReadBootTime()) {
      gauge(kProcessStartTime, *boot + stat->start_ticks / ticks_per_second);
    }
  }
  if (const std::optional<double> open = CountOpenDescriptors()) gauge(kProcessOpenFds, *open);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    gauge(kProcessMaxFds, static_cast<double>(limit.rlim_cur));
  }
  counter(kProcessDroppedLogLines, static_cast<double>(DroppedLogLines()));
  return families;
}

}  // namespace pingti::metrics
