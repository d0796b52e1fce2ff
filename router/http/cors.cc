// See cors.h.
#include "router/http/cors.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/base/strings.h"

namespace pingti::router {
namespace {

constexpr std::string_view kAny = "*";
// Which of an answer's headers the page may read: all of them, for none is a secret of another's.
constexpr std::string_view kExposed = "*";

// scheme://host[:port] in lower case, as browsers write it.
bool IsOrigin(std::string_view text) {
  const size_t scheme = text.find("://");
  if (scheme == std::string_view::npos || scheme == 0) return false;
  const std::string_view host = text.substr(scheme + 3);
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view("-._:[]").find(c) != std::string_view::npos;
  };
  return !host.empty() && std::all_of(host.begin(), host.end(), is_plain) &&
         std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(scheme),
                     [](char c) { return c >= 'a' && c <= 'z'; });
}

// Adds headers to what goes out.
class CorsResponder final : public net::HttpResponder {
 public:
  CorsResponder(net::HttpHeaders headers, std::shared_ptr<net::HttpResponder> next)
      : headers_(std::move(headers)), next_(std::move(next)) {}

  void Send(net::HttpResponse response) override {
    response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
    next_->Send(std::move(response));
  }
  void StartStream(net::HttpResponse head, std::string filler, std::string_view first) override {
    head.headers.insert(head.headers.end(), headers_.begin(), headers_.end());
    next_->StartStream(std::move(head), std::move(filler), first);
  }
  bool Write(std::string_view bytes) override { return next_->Write(bytes); }
  void EndStream(std::string_view last) override { next_->EndStream(last); }
  void OnClose(std::function<void()> on_close) override { next_->OnClose(std::move(on_close)); }

 private:
  const net::HttpHeaders headers_;
  const std::shared_ptr<net::HttpResponder> next_;
};

}  // namespace

absl::StatusOr<CorsPolicy> CorsPolicy::Make(std::vector<std::string> origins) {
  for (const std::string& origin : origins) {
    if (origin == kAny || IsOrigin(origin)) continue;
    return absl::InvalidArgumentError(
        Concat("cors_origins: '", origin,
               "' is no origin: expected '*' or one as 'https://chat.example.com:8443'"));
  }
  return CorsPolicy(std::move(origins));
}

net::HttpHeaders CorsPolicy::HeadersFor(std::string_view origin) const {
  if (origin.empty()) return {};
  const auto lists = [&](std::string_view one) {
    return std::find(origins_.begin(), origins_.end(), one) != origins_.end();
  };
  if (lists(kAny)) return {{"access-control-allow-origin", "*"}};
  if (!lists(origin)) return {};
  return {{"access-control-allow-origin", std::string(origin)}, {"vary", "origin"}};
}

bool CorsPolicy::IsPreflight(const net::HttpRequest& head) const {
  const std::string_view length = head.Header("content-length");
  const bool has_body =
      !head.Header("transfer-encoding").empty() || (!length.empty() && length != "0");
  return head.method == "OPTIONS" && !has_body &&
         !head.Header("access-control-request-method").empty() &&
         !HeadersFor(head.Header("origin")).empty();
}

net::HttpResponse CorsPolicy::AnswerPreflight(const net::HttpRequest& request) const {
  net::HttpResponse response;
  response.status = 204;
  response.headers = HeadersFor(request.Header("origin"));
  response.headers.emplace_back("access-control-allow-methods", "GET, HEAD, POST");
  const std::string_view asked = request.Header("access-control-request-headers");
  if (!asked.empty()) {
    response.headers.emplace_back("access-control-allow-headers", std::string(asked));
  }
  response.headers.emplace_back("access-control-max-age", "600");
  return response;
}

void CorsPolicy::AddHeaders(const net::HttpRequest& request, net::HttpResponse* response) const {
  net::HttpHeaders headers = HeadersFor(request.Header("origin"));
  if (headers.empty()) return;
  headers.emplace_back("access-control-expose-headers", std::string(kExposed));
  response->headers.insert(response->headers.end(), headers.begin(), headers.end());
}

std::shared_ptr<net::HttpResponder> CorsPolicy::Wrap(
    const net::HttpRequest& request, std::shared_ptr<net::HttpResponder> responder) const {
  net::HttpResponse headers;
  AddHeaders(request, &headers);
  if (headers.headers.empty()) return responder;
  return std::make_shared<CorsResponder>(std::move(headers.headers), std::move(responder));
}

}  // namespace pingti::router
