// See discovery.h.
#include "router/discovery/discovery.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

constexpr std::string_view kDnsPrefix = "dns:";

}  // namespace

absl::StatusOr<Discovery::Entry> Discovery::ParseEntry(const std::string& text) {
  Entry entry;
  std::string_view rest = text;
  if (rest.starts_with(kDnsPrefix)) {
    entry.is_dns = true;
    rest.remove_prefix(kDnsPrefix.size());
  }
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size()) {
    return absl::InvalidArgumentError(
        Concat("worker '", text, "': expected HOST:PORT or dns:HOST:PORT"));
  }
  entry.host = rest.substr(0, colon);
  entry.port = rest.substr(colon + 1);
  if (!entry.is_dns) entry.addresses.emplace_back(rest);
  return entry;
}

absl::StatusOr<std::unique_ptr<Discovery>> Discovery::Start(std::vector<std::string> entries,
                                                            std::chrono::milliseconds interval,
                                                            Resolve resolve, OnChange on_change) {
  std::vector<Entry> parsed;
  for (const std::string& text : entries) {
    PINGTI_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseEntry(text));
  }
  return std::unique_ptr<Discovery>(
      new Discovery(std::move(parsed), interval, std::move(resolve), std::move(on_change)));
}

Discovery::Discovery(std::vector<Entry> entries, std::chrono::milliseconds interval,
                     Resolve resolve, OnChange on_change)
    : entries_(std::move(entries)),
      interval_(interval),
      resolve_(std::move(resolve)),
      on_change_(std::move(on_change)) {
  thread_ = std::thread([this] { Run(); });
}

Discovery::~Discovery() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stop_requested_.NotifyAll();
  }
  thread_.join();
}

std::vector<std::string> Discovery::Collect() {
  std::set<std::string> all;
  for (Entry& entry : entries_) {
    if (entry.is_dns) {
      absl::StatusOr<std::vector<std::string>> found = resolve_(entry.host, entry.port);
      if (found.ok()) {
        entry.addresses = *std::move(found);
      } else {
        LogWarning("worker name does not resolve; keeping its last addresses",
                   {{"host", entry.host},
                    {"reason", found.status().ToString()},
                    {"addresses", entry.addresses.size()}});
      }
    }
    all.insert(entry.addresses.begin(), entry.addresses.end());
  }
  return {all.begin(), all.end()};
}

void Discovery::Run() {
  const bool only_static = std::none_of(entries_.begin(), entries_.end(),
                                        [](const Entry& entry) { return entry.is_dns; });
  std::vector<std::string> known = Collect();
  on_change_(known);
  while (true) {
    {
      const auto until = std::chrono::steady_clock::now() + interval_;
      MutexLock lock(&mutex_);
      while (!stopping_) {
        if (only_static) {
          stop_requested_.Wait(&mutex_);
        } else if (!stop_requested_.WaitUntil(&mutex_, until)) {
          break;
        }
      }
      if (stopping_) return;
    }
    std::vector<std::string> found = Collect();
    if (found == known) continue;
    known = std::move(found);
    on_change_(known);
  }
}

absl::StatusOr<std::vector<std::string>> ResolveWithSystem(const std::string& host,
                                                           const std::string& port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (error != 0) {
    return absl::UnavailableError(Concat(host, ": ", std::string_view(gai_strerror(error))));
  }
  std::vector<std::string> addresses;
  for (const addrinfo* item = list; item != nullptr; item = item->ai_next) {
    char ip[NI_MAXHOST];
    if (getnameinfo(item->ai_addr, item->ai_addrlen, ip, sizeof(ip), nullptr, 0, NI_NUMERICHOST) !=
        0) {
      continue;
    }
    const std::string_view text = ip;
    addresses.push_back(item->ai_family == AF_INET6 ? Concat("[", text, "]:", port)
                                                    : Concat(text, ":", port));
  }
  freeaddrinfo(list);
  return addresses;
}

}  // namespace pingti::router
