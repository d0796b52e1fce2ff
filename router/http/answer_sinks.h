// Where a generation's output goes over HTTP: one JSON body, or server-sent events.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/net/http_server.h"
#include "router/admission/admission.h"
#include "router/api/http_call.h"

namespace pingti::router {

// The headers by which a client finds its request again.
struct AnswerIds {
  std::string request_id;    // in the header that the API has for it
  std::string trace_parent;  // echoed; empty: the client sent none
};
void AddIds(const AnswerIds& ids, const ErrorShape& shape, net::HttpResponse* response);

// An error answer with the API's own body, Retry-After and the ids' headers.
net::HttpResponse ErrorResponse(const absl::Status& status, const ErrorShape& shape,
                                const AnswerIds& ids);

// What both sinks need to know of one answer.
struct AnswerContext {
  AnswerIds ids;
  const ErrorShape* errors;
  std::string ignored_fields;  // of the request; the header x-pingti-ignored
  std::unique_ptr<AnswerWriter> writer;
  std::shared_ptr<net::HttpResponder> responder;
  const AdmissionController* admission;  // knows what the key has left; outlives the answer
  std::string tenant;                    // name of that key
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
  // Writes events, the first of them with the head. False: the client is gone.
  bool Write(std::string_view events);
  // The last of them.
  void End(std::string_view events);
  net::HttpResponse Head() const;

  const AnswerContext context_;
  bool started_ = false;
};

}  // namespace pingti::router
