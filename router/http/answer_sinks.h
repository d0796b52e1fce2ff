// Where a generation's output goes over HTTP: one JSON body, or server-sent events.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/net/http_server.h"
#include "router/api/request.h"
#include "router/openai/write.h"

namespace pingti::router {

// Told once how an answer ended: HTTP status, and tokens where there were any.
using AnswerEnded = std::function<void(int http_status, const UsageCounts& usage)>;

// An error answer with OpenAI's body, Retry-After and the request id's header.
net::HttpResponse ErrorResponse(const absl::Status& status, std::string_view request_id);

// Gathers the choices and sends them as one body.
class BodySink final : public ResponseSink {
 public:
  BodySink(AnswerHead head, size_t num_choices, std::shared_ptr<net::HttpResponder> responder,
           AnswerEnded ended);

  bool OnDelta(ChoiceDelta delta) override;
  void OnDone(const UsageCounts& usage) override;
  void OnError(const absl::Status& status) override;
  void OnKeepAlive() override {}  // an HTTP answer without its length has no filler

 private:
  const AnswerHead head_;
  const std::shared_ptr<net::HttpResponder> responder_;
  const AnswerEnded ended_;
  std::vector<ChoiceAnswer> choices_;
};

// Sends events as they come. The 200 goes out with the first token or keep-alive: an error before
// that has its own status; one after it becomes an event.
class EventSink final : public ResponseSink {
 public:
  EventSink(AnswerHead head, size_t num_choices, bool include_usage,
            std::shared_ptr<net::HttpResponder> responder, AnswerEnded ended);

  bool OnDelta(ChoiceDelta delta) override;
  void OnDone(const UsageCounts& usage) override;
  void OnError(const absl::Status& status) override;
  void OnKeepAlive() override;

 private:
  void StartIfNeeded();

  const std::string request_id_;
  ChunkWriter writer_;
  const std::shared_ptr<net::HttpResponder> responder_;
  const AnswerEnded ended_;
  bool started_ = false;
};

}  // namespace pingti::router
