// Where a generation's output goes over HTTP: one JSON body, or server-sent events.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/net/http_server.h"
#include "router/api/http_call.h"

namespace pingti::router {

// Told once how an answer ended: HTTP status, and tokens where there were any.
using AnswerEnded = std::function<void(int http_status, const UsageCounts& usage)>;

// An error answer with the API's own body, Retry-After and the request id's header.
net::HttpResponse ErrorResponse(const absl::Status& status, const ErrorShape& shape,
                                std::string_view request_id);

// What both sinks need to know of one answer.
struct AnswerContext {
  std::string request_id;
  const ErrorShape* errors;
  std::unique_ptr<AnswerWriter> writer;
  std::shared_ptr<net::HttpResponder> responder;
  AnswerEnded ended;
};

// Gathers the choices and sends them as one body.
class BodySink final : public ResponseSink {
 public:
  BodySink(AnswerContext context, size_t num_choices);

  bool OnDelta(ChoiceDelta delta) override;
  void OnDone(const UsageCounts& usage) override;
  void OnError(const absl::Status& status) override;
  void OnKeepAlive() override {}  // an HTTP answer without its length has no filler

 private:
  const AnswerContext context_;
  std::vector<ChoiceAnswer> choices_;
};

// Sends events as they come. The 200 goes out with the first token or keep-alive: an error before
// that has its own status; one after it becomes an event.
class EventSink final : public ResponseSink {
 public:
  explicit EventSink(AnswerContext context) : context_(std::move(context)) {}

  bool OnDelta(ChoiceDelta delta) override;
  void OnDone(const UsageCounts& usage) override;
  void OnError(const absl::Status& status) override;
  void OnKeepAlive() override;

 private:
  void StartIfNeeded();

  const AnswerContext context_;
  bool started_ = false;
};

}  // namespace pingti::router
