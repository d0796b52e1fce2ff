// See router_process.h.
#include "tests/testing/router_process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/net/http_client.h"
#include "tests/testing/ports.h"
#include "tests/testing/wait_for.h"

namespace pingti::testing {
namespace {

bool IsReady(uint16_t admin_port) {
  net::HttpClient client;
  const auto response = client.Send({.url = Concat("http://127.0.0.1:", admin_port, "/readyz")});
  return response.ok() && response->status == 200;
}

}  // namespace

RouterProcess::RouterProcess(const std::string& program, const std::vector<std::string>& workers,
                             const std::vector<std::string>& more)
    : http_port_(FreePort()) {
  const uint16_t admin_port = FreePort();
  std::string list;
  for (const std::string& worker : workers) list += (list.empty() ? "" : ",") + worker;
  std::vector<std::string> words = {program,
                                    "--address=127.0.0.1",
                                    Concat("--http-port=", http_port_),
                                    "--grpc-port=0",
                                    Concat("--admin-port=", admin_port),
                                    "--workers=" + list,
                                    Concat("--min-ready-workers=", workers.size()),
                                    "--http-threads=1",
                                    "--log-level=warning"};
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Without the tests' own variables: the router refuses what it does not know.
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("PINGTI_")) environment.push_back(*entry);
  }
  environment.push_back(nullptr);
  PINGTI_CHECK_MSG(
      posix_spawn(&pid_, program.c_str(), nullptr, nullptr, argv.data(), environment.data()) == 0,
      program);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!IsReady(admin_port)) {
    PINGTI_CHECK_MSG(std::chrono::steady_clock::now() < deadline, "the router was not ready");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

RouterProcess::~RouterProcess() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

double RouterProcess::CpuSeconds() const {
  std::ifstream file(Concat("/proc/", pid_, "/stat"));
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double RouterProcess::ResidentMegabytes() const {
  std::ifstream file(Concat("/proc/", pid_, "/statm"));
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

}  // namespace pingti::testing
