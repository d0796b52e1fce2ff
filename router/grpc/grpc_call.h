// One call of the public service, as bytes: the reactor that gRPC drives, and the messages on their
// way to the client.
//
// The two die at different times: the reactor in OnDone, the answer with the last who writes to it
// (a generation, say). A mutex and a null pointer keep them apart. Included only by this folder's
// .cc files.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/memory_budget.h"
#include "common/base/mutex.h"
#include "router/grpc/read_turns.h"
#include "router/pipeline/client_watch.h"

namespace google::protobuf {
class Message;
}

namespace pingti::router {

class GrpcCall;

// Thread-safe.
class GrpcAnswer {
 public:
  explicit GrpcAnswer(GrpcCall* call) : call_(call) {}

  // Queues a message. False when the client is gone, or was cut off because it does not read.
  bool Write(const google::protobuf::Message& message);
  // Ends the call once everything was written; an error ends it at once. `trailers`: metadata that
  // go with the status, names and values. Only the first counts.
  using Trailers = std::vector<std::pair<std::string, std::string>>;
  void Finish(grpc::Status status, const Trailers& trailers = {});

 private:
  friend class GrpcCall;

  void OnWriteDone(bool ok);
  void Detach();
  void Clear() PINGTI_REQUIRES(mutex_);
  // Starts the next operation when none runs. Starting one under the lock is safe: its callback
  // never runs inside the call.
  void Advance() PINGTI_REQUIRES(mutex_);

  Mutex mutex_;
  GrpcCall* call_ PINGTI_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> waiting_ PINGTI_GUARDED_BY(mutex_);
  size_t waiting_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer current_;  // owned by gRPC while writing_
  grpc::Status final_ PINGTI_GUARDED_BY(mutex_);
  bool writing_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finishing_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finished_ PINGTI_GUARDED_BY(mutex_) = false;
};

// Deletes itself when gRPC is done with it, which is never before the answer's Finish.
class GrpcCall final : public grpc::ServerGenericBidiReactor, public ReadTurns::Reader {
 public:
  // gRPC keeps `context` until OnDone; `turns` outlives all calls.
  GrpcCall(grpc::GenericCallbackServerContext* context, ReadTurns* turns)
      : context_(context), turns_(turns) {}

  // Reads the one message of the request when its turn comes, then calls `on_request`. Until then
  // a client's message takes no more than a stream's window. Errors: Cancelled; ResourceExhausted
  // when it is larger than a message may be, takes too long, or there is none. Once.
  void Read(std::function<void(const absl::Status&)> on_request);

  grpc::GenericCallbackServerContext* context() { return context_; }
  // The message, and what it takes of the budget for bodies. Whoever has taken over what is in it
  // calls FreeRequest.
  grpc::ByteBuffer* request() { return &request_; }
  MemoryBudget::Lease* lease() { return &lease_; }
  void FreeRequest();

  // Both outlive this, which may be gone as soon as the answer is finished.
  std::shared_ptr<GrpcAnswer> answer() const { return answer_; }
  std::shared_ptr<ClientWatch> client() const { return client_; }

  // Ends a call whose client does not read: without this, its write would wait for ever.
  void Cut() { context_->TryCancel(); }

  void OnTurn() override { StartRead(&request_); }
  void OnOverdue() override;

  // gRPC's callbacks.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { answer_->OnWriteDone(ok); }
  void OnCancel() override;
  void OnDone() override;

 private:
  grpc::GenericCallbackServerContext* const context_;
  ReadTurns* const turns_;
  const std::shared_ptr<GrpcAnswer> answer_ = std::make_shared<GrpcAnswer>(this);
  const std::shared_ptr<ClientWatch> client_ = std::make_shared<ClientWatch>();
  std::function<void(const absl::Status&)> on_request_;
  grpc::ByteBuffer request_;
  MemoryBudget::Lease lease_;
};

}  // namespace pingti::router
