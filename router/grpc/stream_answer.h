// One server-streaming answer: the sink a generation writes to, and the reactor gRPC writes from.
//
// The two die at different times: the sink with the generation, the reactor in OnDone. A mutex and
// a null pointer keep them apart. Included only by this folder's .cc files.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "router/grpc/convert.h"
#include "router/pipeline/client_watch.h"

namespace pingti::router {

// Memory of the messages that may wait for a client that does not read, beside one more message;
// then its call is cancelled.
inline constexpr size_t kMaxWaitingBytes = 4u << 20;

template <typename Response>
class StreamReactor;

// Thread-safe.
template <typename Response>
class StreamSink final : public ResponseSink {
 public:
  // `head` is what all messages share.
  StreamSink(StreamReactor<Response>* reactor, Response head, size_t num_choices)
      : head_(std::move(head)), role_sent_(num_choices, false), reactor_(reactor) {}

  bool OnDelta(ChoiceDelta delta) override {
    Response message = head_;
    const bool with_role = !role_sent_[delta.index];
    role_sent_[delta.index] = true;
    ToProto(delta, with_role, message.add_deltas());
    MutexLock lock(&mutex_);
    if (reactor_ == nullptr) return false;
    if (waiting_bytes_ > kMaxWaitingBytes) {
      reactor_->Cut();
      return false;
    }
    Queue(std::move(message));
    return true;
  }
  void OnDone(const UsageCounts& usage) override {
    Response message = head_;
    ToProto(usage, message.mutable_usage());
    MutexLock lock(&mutex_);
    Queue(std::move(message));
    FinishWith(grpc::Status::OK);
  }
  void OnError(const absl::Status& status) override {
    MutexLock lock(&mutex_);
    Clear();
    FinishWith(grpc::Status(static_cast<grpc::StatusCode>(status.code()), StatusText(status)));
  }
  void OnKeepAlive() override {}  // HTTP/2 pings do that

  // The reactor's side.
  void OnWriteDone(bool ok) {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) Clear();
    Advance();
  }
  void Detach() {
    MutexLock lock(&mutex_);
    reactor_ = nullptr;
  }

 private:
  void Queue(Response message) PINGTI_REQUIRES(mutex_) {
    const size_t bytes = message.SpaceUsedLong();
    waiting_.push_back({std::move(message), bytes});
    waiting_bytes_ += bytes;
    Advance();
  }
  void Clear() PINGTI_REQUIRES(mutex_) {
    waiting_.clear();
    waiting_bytes_ = 0;
  }
  void FinishWith(grpc::Status status) PINGTI_REQUIRES(mutex_) {
    final_ = std::move(status);
    finishing_ = true;
    Advance();
  }
  // Starts the next operation when none runs. Starting one under the lock is safe: its callback
  // never runs inside the call.
  void Advance() PINGTI_REQUIRES(mutex_) {
    if (reactor_ == nullptr || writing_ || finished_) return;
    if (!waiting_.empty()) {
      current_ = std::move(waiting_.front().message);
      waiting_bytes_ -= waiting_.front().bytes;
      waiting_.pop_front();
      writing_ = true;
      reactor_->StartWrite(&current_);
    } else if (finishing_) {
      finished_ = true;
      reactor_->Finish(final_);
    }
  }

  struct Waiting {
    Response message;
    size_t bytes;  // in memory
  };

  const Response head_;
  std::vector<bool> role_sent_;  // generation's calls only

  Mutex mutex_;
  StreamReactor<Response>* reactor_ PINGTI_GUARDED_BY(mutex_);
  std::deque<Waiting> waiting_ PINGTI_GUARDED_BY(mutex_);
  size_t waiting_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;
  Response current_;  // owned by gRPC while writing_
  grpc::Status final_ PINGTI_GUARDED_BY(mutex_);
  bool writing_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finishing_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finished_ PINGTI_GUARDED_BY(mutex_) = false;
};

// Deletes itself when gRPC is done with it, which is never before Finish.
template <typename Response>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  // gRPC keeps `context` until OnDone.
  explicit StreamReactor(grpc::CallbackServerContext* context) : context_(context) {}

  // Ends a call whose client does not read: without this, its write would wait for ever.
  void Cut() { context_->TryCancel(); }
  // Before anything is written; a request refused before that has none.
  void SetSink(std::shared_ptr<StreamSink<Response>> sink) { sink_ = std::move(sink); }
  // Outlives this: a generation may start while the client leaves.
  const std::shared_ptr<ClientWatch>& client() const { return client_; }

  void OnWriteDone(bool ok) override { sink_->OnWriteDone(ok); }
  void OnCancel() override { client_->OnGone(); }
  void OnDone() override {
    if (sink_ != nullptr) sink_->Detach();
    delete this;
  }

 private:
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<StreamSink<Response>> sink_;
  const std::shared_ptr<ClientWatch> client_ = std::make_shared<ClientWatch>();
};

}  // namespace pingti::router
