// Question: what does the router add to a request, to a token and to a prompt, how much of it comes
// with the number of workers, and does its memory stay bounded? Baseline: the same fake workers
// asked directly over gRPC, in the same run. Command: router_bench [CASE...], see kCases; without
// any, all of them.
//
// Workers and clients share this machine's cores with the router. The router is a process of its
// own, and its CPU time is read from /proc: "cores" are seconds of that time per second.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/router/cases.h"

namespace pingti::bench {
namespace {

struct Case {
  std::string_view name;
  void (*run)(const std::string& router);
};
constexpr Case kCases[] = {
    {"latency", &BenchLatency}, {"workers", &BenchWorkers}, {"streams", &BenchStreams},
    {"prompts", &BenchPrompts}, {"soak", &BenchSoak},
};

double LoadOfMachine() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : -1;
}

int Main(int argc, char** argv) {
  const std::string router =
      (std::filesystem::path(argv[0]).parent_path() / "../bin/pingti-router").string();
  const std::vector<std::string_view> wanted(argv + 1, argv + argc);
  for (const std::string_view name : wanted) {
    if (std::none_of(std::begin(kCases), std::end(kCases),
                     [&](const Case& one) { return one.name == name; })) {
      std::fprintf(stderr, "unknown case '%s'; there are: ", std::string(name).c_str());
      for (const Case& one : kCases) std::fprintf(stderr, "%s ", std::string(one.name).c_str());
      std::fprintf(stderr, "\n");
      return 2;
    }
  }
  for (const Case& one : kCases) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), one.name) == wanted.end()) {
      continue;
    }
    std::printf("%s (%u cores; load of the machine before: %.1f)\n", std::string(one.name).c_str(),
                std::thread::hardware_concurrency(), LoadOfMachine());
    one.run(router);
  }
  return 0;
}

}  // namespace

void PrintResult(std::string_view what, double value, std::string_view unit,
                 std::string_view goal) {
  std::printf("  %-66s %10.3f %-6s %s\n", std::string(what).c_str(), value,
              std::string(unit).c_str(), std::string(goal).c_str());
  std::fflush(stdout);
}

}  // namespace pingti::bench

int main(int argc, char** argv) { return pingti::bench::Main(argc, argv); }
