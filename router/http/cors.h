// Pages of other origins that may use the HTTP API from a browser (cross-origin resource sharing).
// Source: the Fetch standard, "HTTP extensions".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/net/http_server.h"

namespace pingti::router {

// Immutable; thread-safe.
class CorsPolicy {
 public:
  // `origins`: "https://chat.example.com", with a port where it is not the scheme's own; "*": any.
  // Errors: InvalidArgument naming what is no origin.
  static absl::StatusOr<CorsPolicy> Make(std::vector<std::string> origins);

  // Whether a browser asks if a page of an origin on the list may send a request. It has no key.
  bool IsPreflight(const net::HttpRequest& head) const;
  net::HttpResponse AnswerPreflight(const net::HttpRequest& request) const;

  // Lets the page that sent `request` read the answer, where its origin is on the list.
  void AddHeaders(const net::HttpRequest& request, net::HttpResponse* response) const;
  std::shared_ptr<net::HttpResponder> Wrap(const net::HttpRequest& request,
                                           std::shared_ptr<net::HttpResponder> responder) const;

 private:
  explicit CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {}

  net::HttpHeaders HeadersFor(std::string_view origin) const;

  const std::vector<std::string> origins_;
};

}  // namespace pingti::router
