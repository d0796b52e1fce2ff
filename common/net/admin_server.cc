// Three fixed paths on an HttpServer.
#include "common/net/admin_server.h"

#include <utility>

#include "absl/status/status.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

HttpResponse Text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

HttpResponse FromStatus(const absl::Status& status) {
  if (status.ok()) return Text(200, "ok\n");
  return Text(503,
              Concat(std::string_view(status.message().data(), status.message().size()), "\n"));
}

HttpResponse Answer(const AdminCallbacks& callbacks, const HttpRequest& request) {
  const bool known =
      request.path == "/metrics" || request.path == "/healthz" || request.path == "/readyz";
  if (!known) {
    return Text(404, Concat("no such path: '", request.path,
                            "'; there are /metrics, /healthz and /readyz\n"));
  }
  if (request.method != "GET" && request.method != "HEAD") {
    HttpResponse response = Text(405, Concat(request.method, " is not allowed: expected GET\n"));
    response.headers.emplace_back("Allow", "GET, HEAD");
    return response;
  }
  if (request.path == "/healthz") return FromStatus(callbacks.healthy());
  if (request.path == "/readyz") return FromStatus(callbacks.ready());
  HttpResponse response = Text(200, callbacks.metrics());
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return response;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(HttpServerOptions options,
                                                             AdminCallbacks callbacks) {
  // Operators ask short questions, and few of them.
  options.max_header_bytes = 16u << 10;
  options.max_body_bytes = 1024;
  options.max_connections = 256;
  return HttpServer::Start(std::move(options),
                           [callbacks = std::move(callbacks)](
                               HttpRequest request, std::shared_ptr<HttpResponder> responder) {
                             responder->Send(Answer(callbacks, request));
                           });
}

}  // namespace pingti::net
