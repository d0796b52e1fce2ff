// See discovery.h.
#include "router/discovery/discovery.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

constexpr std::string_view kDnsPrefix = "dns:";
constexpr std::string_view kKubernetesPrefix = "kubernetes:";

// Errors: InvalidArgument for an address that no connection can be made to.
absl::Status CheckHostPort(const std::string& text, std::string_view host, std::string_view port) {
  uint16_t number = 0;
  const char* const end = port.data() + port.size();
  const auto [rest, error] = std::from_chars(port.data(), end, number);
  if (error != std::errc() || rest != end || number == 0) {
    return absl::InvalidArgumentError(
        Concat("worker '", text, "': port '", port, "': expected 1 to 65535"));
  }
  if (host.find(':') != std::string_view::npos && !(host.starts_with('[') && host.ends_with(']'))) {
    return absl::InvalidArgumentError(
        Concat("worker '", text, "': expected an IPv6 address in brackets, as [::1]:9001"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Discovery::Entry> Discovery::ParseEntry(const std::string& text) {
  Entry entry;
  entry.text = text;
  std::string_view rest = text;
  for (const auto& [prefix, kind] :
       {std::pair(kDnsPrefix, Kind::kDns), std::pair(kKubernetesPrefix, Kind::kKubernetes)}) {
    if (!rest.starts_with(prefix)) continue;
    entry.kind = kind;
    rest.remove_prefix(prefix.size());
    break;
  }
  const size_t slash = entry.kind == Kind::kKubernetes ? rest.find('/') : std::string_view::npos;
  if (slash != std::string_view::npos) {
    entry.service_namespace = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
  }
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size() || slash == 0) {
    return absl::InvalidArgumentError(Concat("worker '", text,
                                             "': expected HOST:PORT, dns:HOST:PORT or "
                                             "kubernetes:[NAMESPACE/]SERVICE:PORT"));
  }
  entry.host = rest.substr(0, colon);
  entry.port = rest.substr(colon + 1);
  if (entry.kind != Kind::kKubernetes)
    PINGTI_RETURN_IF_ERROR(CheckHostPort(text, entry.host, entry.port));
  if (entry.kind == Kind::kKubernetes &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-:/.") != std::string::npos) {
    return absl::InvalidArgumentError(
        Concat("worker '", text, "': names of Kubernetes have small letters, digits and '-'"));
  }
  if (entry.kind == Kind::kStatic) entry.workers.emplace_back(std::string(rest));
  return entry;
}

absl::StatusOr<std::unique_ptr<Discovery>> Discovery::Start(const std::vector<std::string>& entries,
                                                            DiscoveryOptions options,
                                                            OnChange on_change) {
  std::vector<Entry> parsed;
  for (const std::string& text : entries) {
    PINGTI_ASSIGN_OR_RETURN(Entry entry, ParseEntry(text));
    if (entry.kind == Kind::kKubernetes) {
      PINGTI_RETURN_IF_ERROR(KubernetesUrl(options.kubernetes).status());
      if (entry.service_namespace.empty()) {
        PINGTI_ASSIGN_OR_RETURN(entry.service_namespace, OwnNamespace(options.kubernetes));
      }
    }
    parsed.push_back(std::move(entry));
  }
  return std::unique_ptr<Discovery>(
      new Discovery(std::move(parsed), std::move(options), std::move(on_change)));
}

Discovery::Discovery(std::vector<Entry> entries, DiscoveryOptions options, OnChange on_change)
    : options_(std::move(options)), on_change_(std::move(on_change)), entries_(std::move(entries)) {
  thread_ = std::thread([this] { Run(); });
  for (Entry& entry : entries_) {
    if (entry.kind == Kind::kKubernetes) Watch(&entry);
  }
}

Discovery::~Discovery() {
  watches_.clear();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    woken_.NotifyAll();
  }
  thread_.join();
}

void Discovery::Watch(Entry* entry) {
  watches_.push_back(std::make_unique<EndpointWatch>(
      options_.kubernetes, ServicePort{entry->service_namespace, entry->host, entry->port},
      options_.zone,
      [this, entry](std::vector<WorkerAddress> workers) {
        MutexLock lock(&mutex_);
        entry->workers = std::move(workers);
        changed_ = true;
        woken_.NotifyAll();
      },
      [this, entry](bool answered) { options_.on_answer(entry->text, answered); }));
}

std::vector<WorkerAddress> Discovery::Collect() {
  for (Entry& entry : entries_) {
    if (entry.kind != Kind::kDns) continue;
    const absl::StatusOr<std::vector<std::string>> found = options_.resolve(entry.host, entry.port);
    options_.on_answer(entry.text, found.ok());
    if (found.ok()) {
      entry.workers.assign(found->begin(), found->end());
    } else {
      LogWarning("worker name does not resolve; keeping its last addresses",
                 {{"host", entry.host},
                  {"reason", found.status().ToString()},
                  {"addresses", entry.workers.size()}});
    }
  }
  std::set<WorkerAddress> all;
  MutexLock lock(&mutex_);
  changed_ = false;
  for (const Entry& entry : entries_) all.insert(entry.workers.begin(), entry.workers.end());
  return {all.begin(), all.end()};
}

void Discovery::Run() {
  const bool asks_again = std::any_of(entries_.begin(), entries_.end(),
                                      [](const Entry& entry) { return entry.kind == Kind::kDns; });
  std::vector<WorkerAddress> known = Collect();
  on_change_(known);
  while (true) {
    {
      const auto until = std::chrono::steady_clock::now() + options_.dns_interval;
      MutexLock lock(&mutex_);
      while (!stopping_ && !changed_) {
        if (!asks_again) {
          woken_.Wait(&mutex_);
        } else if (!woken_.WaitUntil(&mutex_, until)) {
          break;
        }
      }
      if (stopping_) return;
    }
    std::vector<WorkerAddress> found = Collect();
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
