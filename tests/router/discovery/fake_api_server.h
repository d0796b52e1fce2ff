// A Kubernetes API server that knows EndpointSlices alone, over TLS: lists in pages, watches from a
// resourceVersion with bookmarks, forgets old versions (410 Gone), and asks for a bearer token.
// What it does follows "Kubernetes API Concepts" of the Kubernetes documentation.
#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "common/net/http_server.h"
#include "router/discovery/kubernetes_api.h"
#include "tests/common/net/test_certificates.h"
#include "tests/testing/ports.h"

namespace pingti::testing {

// Thread-safe.
class FakeApiServer {
 public:
  // `folder`: for certificates and the token's file; it exists and is empty.
  explicit FakeApiServer(std::filesystem::path folder) : folder_(std::move(folder)) {
    ca_.Write(File("ca.pem"), File("ca.key"));
    TestCertificate("kubernetes", &ca_).Write(File("cert.pem"), File("key.pem"));
    std::ofstream(File("namespace")) << "prod";
    RotateToken("first");
    Start(FreePort());
  }

  router::KubernetesAccess access() const {
    router::KubernetesAccess access;
    access.url = Concat("https://localhost:", port_);
    access.token_file = File("token");
    access.ca_file = File("ca.pem");
    access.namespace_file = File("namespace");
    access.least_backoff = std::chrono::milliseconds(1);
    access.most_backoff = std::chrono::milliseconds(5);
    return access;
  }

  // Creates or changes a slice of Service `service`; `spec` are the members of its JSON object
  // beside metadata, with a comma before each.
  void Put(const std::string& name, const std::string& spec,
           const std::string& service = "workers") {
    MutexLock lock(&mutex_);
    const bool is_new = !slices_.contains(name);
    Slice& slice = slices_[name];
    slice = {service, ++version_, spec};
    Publish({version_, service, is_new ? "ADDED" : "MODIFIED", Json(name, slice)});
  }
  void Delete(const std::string& name) {
    MutexLock lock(&mutex_);
    Slice slice = slices_.at(name);
    slices_.erase(name);
    slice.version = ++version_;
    Publish({version_, slice.service, "DELETED", Json(name, slice)});
  }
  // Changes something of no interest, which moves the version on.
  void ChangeAnotherService() { Put("other", R"(,"addressType":"IPv4")", "other"); }
  void SendBookmarks() {
    MutexLock lock(&mutex_);
    const std::string object =
        Concat(R"({"kind":"EndpointSlice","metadata":{"resourceVersion":")", version_, R"("}})");
    for (const Watcher& watcher : watchers_) Send(watcher, "BOOKMARK", object);
  }
  // Forgets events up to now: a watch from before gets 410.
  void Compact() {
    MutexLock lock(&mutex_);
    events_.clear();
    oldest_ = version_;
  }
  // Ends all watches in order, as the server does after timeoutSeconds.
  void EndWatches() {
    MutexLock lock(&mutex_);
    for (const Watcher& watcher : watchers_) watcher.responder->EndStream();
    watchers_.clear();
  }
  // Tells all watches that their version is gone, within the stream.
  void ExpireWatches() {
    MutexLock lock(&mutex_);
    for (const Watcher& watcher : watchers_) {
      Send(watcher, "ERROR", R"({"kind":"Status","code":410,"reason":"Expired"})");
      watcher.responder->EndStream();
    }
    watchers_.clear();
  }
  // Watches from now on get no event, and no end: as if the line were cut.
  void SetSilent(bool silent) {
    MutexLock lock(&mutex_);
    silent_ = silent;
  }
  // Writes a bare line to all watches.
  void SendLine(const std::string& line) {
    MutexLock lock(&mutex_);
    for (const Watcher& watcher : watchers_) watcher.responder->Write(line + "\n");
  }
  // Writes another token to the file; the old one counts no more.
  void RotateToken(const std::string& token) {
    const std::string file = File("token");
    std::ofstream(file + ".new") << token << "\n";
    std::filesystem::rename(file + ".new", file);
    MutexLock lock(&mutex_);
    token_ = token;
  }
  void Stop() {
    server_ = nullptr;
    MutexLock lock(&mutex_);
    watchers_.clear();
  }
  void StartAgain() { Start(port_); }
  void SetPageSize(size_t size) {
    MutexLock lock(&mutex_);
    page_size_ = size;
  }

  size_t num_watches() const {
    MutexLock lock(&mutex_);
    return watchers_.size();
  }
  int lists() const {
    MutexLock lock(&mutex_);
    return lists_;
  }
  int watches_begun() const {
    MutexLock lock(&mutex_);
    return watches_begun_;
  }
  int unauthorized() const {
    MutexLock lock(&mutex_);
    return unauthorized_;
  }

 private:
  struct Slice {
    std::string service;
    int64_t version = 0;
    std::string spec;
  };
  struct Event {
    int64_t version;
    std::string service;
    std::string type;
    std::string object;
  };
  struct Watcher {
    std::string service;
    std::shared_ptr<net::HttpResponder> responder;
    bool silent;
  };

  std::string File(const char* name) const { return (folder_ / name).string(); }

  void Start(uint16_t port) {
    net::HttpServerOptions options;
    options.port = port;
    options.tls = {.cert_file = File("cert.pem"), .key_file = File("key.pem")};
    auto server = net::HttpServer::Start(
        options, [this](net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder) {
          Handle(request, std::move(responder));
        });
    PINGTI_CHECK(server.ok());
    server_ = *std::move(server);
    port_ = server_->port();
  }

  static std::string Json(const std::string& name, const Slice& slice) {
    return Concat(R"({"kind":"EndpointSlice","metadata":{"name":")", name,
                  R"(","resourceVersion":")", slice.version, R"("})", slice.spec, "}");
  }

  static std::string Parameter(const std::string& query, const std::string& name) {
    const std::string text = "&" + query;
    const size_t at = text.find("&" + name + "=");
    if (at == std::string::npos) return "";
    const size_t begin = at + name.size() + 2;
    return Decoded(text.substr(begin, text.find('&', begin) - begin));
  }
  // "%2D" is "-".
  static std::string Decoded(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%') {
        out += text[i];
        continue;
      }
      int code = 0;
      std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16);
      out += static_cast<char>(code);
      i += 2;
    }
    return out;
  }
  static int64_t Number(const std::string& text) {
    int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  }
  static void Refuse(net::HttpResponder* responder, int status, const std::string& reason) {
    responder->Send(
        {.status = status,
         .body = Concat(R"({"kind":"Status","code":)", status, R"(,"reason":")", reason, R"("})")});
  }

  void Handle(const net::HttpRequest& request, std::shared_ptr<net::HttpResponder> responder) {
    MutexLock lock(&mutex_);
    if (request.Header("authorization") != "Bearer " + token_) {
      ++unauthorized_;
      return Refuse(responder.get(), 401, "Unauthorized");
    }
    if (request.method != "GET" ||
        request.path != "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices") {
      return Refuse(responder.get(), 404, "NotFound");
    }
    constexpr std::string_view kSelector = "kubernetes.io/service-name=";
    std::string service = Parameter(request.query, "labelSelector");
    if (!service.starts_with(kSelector)) return Refuse(responder.get(), 400, "BadRequest");
    service.erase(0, kSelector.size());
    if (Parameter(request.query, "watch") == "1") {
      Watch(request.query, service, std::move(responder));
    } else {
      List(request.query, service, responder.get());
    }
  }

  // A page begins behind the name that `continue` has.
  void List(const std::string& query, const std::string& service, net::HttpResponder* responder)
      PINGTI_REQUIRES(mutex_) {
    ++lists_;
    const std::string after = Parameter(query, "continue");
    const size_t limit = std::min<size_t>(page_size_, Number(Parameter(query, "limit")));
    std::string items;
    std::string rest;
    size_t count = 0;
    for (const auto& [name, slice] : slices_) {
      if (slice.service != service || name <= after) continue;
      if (count == limit) break;
      items += (count++ == 0 ? "" : ",") + Json(name, slice);
      rest = name;
    }
    const bool is_last = std::none_of(slices_.begin(), slices_.end(), [&](const auto& entry) {
      return entry.second.service == service && entry.first > rest;
    });
    responder->Send(
        {.body = Concat(R"({"kind":"EndpointSliceList","metadata":{"resourceVersion":")", version_,
                        R"(","continue":")", is_last ? "" : rest, R"("},"items":[)", items, "]}")});
  }

  void Watch(const std::string& query, const std::string& service,
             std::shared_ptr<net::HttpResponder> responder) PINGTI_REQUIRES(mutex_) {
    ++watches_begun_;
    const int64_t from = Number(Parameter(query, "resourceVersion"));
    if (from < oldest_) return Refuse(responder.get(), 410, "Expired");
    responder->StartStream({});
    const Watcher watcher{service, responder, silent_};
    for (const Event& event : events_) {
      if (event.version > from && event.service == service) {
        Send(watcher, event.type, event.object);
      }
    }
    responder->OnClose([this, raw = responder.get()] {
      MutexLock lock(&mutex_);
      std::erase_if(watchers_, [&](const Watcher& one) { return one.responder.get() == raw; });
    });
    watchers_.push_back(watcher);
  }

  void Publish(Event event) PINGTI_REQUIRES(mutex_) {
    for (const Watcher& watcher : watchers_) {
      if (watcher.service == event.service) Send(watcher, event.type, event.object);
    }
    events_.push_back(std::move(event));
  }
  static void Send(const Watcher& watcher, const std::string& type, const std::string& object) {
    if (watcher.silent) return;
    watcher.responder->Write(Concat(R"({"type":")", type, R"(","object":)", object, "}\n"));
  }

  const std::filesystem::path folder_;
  const TestCertificate ca_{"ca", nullptr};
  mutable Mutex mutex_;
  std::string token_ PINGTI_GUARDED_BY(mutex_);
  std::map<std::string, Slice> slices_ PINGTI_GUARDED_BY(mutex_);
  std::vector<Event> events_ PINGTI_GUARDED_BY(mutex_);
  std::vector<Watcher> watchers_ PINGTI_GUARDED_BY(mutex_);
  int64_t version_ PINGTI_GUARDED_BY(mutex_) = 100;
  int64_t oldest_ PINGTI_GUARDED_BY(mutex_) = 100;
  size_t page_size_ PINGTI_GUARDED_BY(mutex_) = 1000;
  bool silent_ PINGTI_GUARDED_BY(mutex_) = false;
  int lists_ PINGTI_GUARDED_BY(mutex_) = 0;
  int watches_begun_ PINGTI_GUARDED_BY(mutex_) = 0;
  int unauthorized_ PINGTI_GUARDED_BY(mutex_) = 0;
  uint16_t port_ = 0;
  std::unique_ptr<net::HttpServer> server_;  // ends first
};

}  // namespace pingti::testing
