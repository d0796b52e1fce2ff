// The gRPC side of FakeWorker: its service, its step thread and one object per router's session.
// Included only by fake_worker*.cc.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "tests/testing/fake_worker.h"

namespace pingti::testing {

std::string FakeTokenizerAsset(const std::vector<std::string>& extra_tokens);

class FakeWorker::Service final : public worker::v1::Worker::CallbackService {
 public:
  explicit Service(FakeWorkerOptions options);
  ~Service() override { Kill(); }

  grpc::ServerUnaryReactor* GetModelCard(grpc::CallbackServerContext* context,
                                         const worker::v1::GetModelCardRequest*,
                                         worker::v1::ModelCard* card) override;
  grpc::ServerWriteReactor<worker::v1::AssetChunk>* GetModelAsset(
      grpc::CallbackServerContext* context,
      const worker::v1::GetModelAssetRequest* request) override;
  grpc::ServerBidiReactor<worker::v1::SessionRequest, worker::v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override;

  void Kill();
  void Run();

  // A sequence that runs here.
  struct Running {
    std::vector<uint32_t> output;
    size_t next = 0;
    uint32_t max_tokens = 0;
    bool to_context_end = false;  // max_tokens is what the context has room for
    bool logprobs = false;
    uint32_t top_logprobs = 0;
    uint32_t first_top = 0;
    uint32_t prompt_logprobs = 0;  // how many to send with the first output
    uint32_t cached_tokens = 0;
    bool first = true;
    std::chrono::milliseconds interval{0};  // for which tokens may be held
    worker::v1::SequenceOutput held;        // has no tokens: nothing is
    std::chrono::steady_clock::time_point reported;
    std::chrono::steady_clock::time_point due;
  };
  class Stream;

  void Take(Stream* stream, const worker::v1::SessionRequest& request);
  void Start(Stream* stream, const worker::v1::Sequence& sequence);
  // Tokens of the prompt that are cached; tells the router what is cached from now on.
  uint32_t LookUp(Stream* stream, const worker::v1::Sequence& sequence);
  void Step(Stream* stream);
  // Holds tokens back as worker/server/held_outputs.h does. False: `output` goes now.
  static bool Hold(Running* sequence, worker::v1::SequenceOutput* output);
  // Sends what was held and is due. When the next is.
  static std::chrono::steady_clock::time_point SendDue(Stream* stream);
  static bool Advance(Running* sequence, int num_tokens, worker::v1::SequenceOutput* output);
  void Report(Stream* stream);

  FakeWorkerOptions options_;
  const std::string asset_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::thread engine_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Stream*> streams_;
  bool stopping_ = false;
  bool stalled_ = false;
  bool draining_ = false;
  bool held_ = false;
  int allowed_steps_ = 0;
  int refuse_ = 0;
  worker::v1::Finish refusal_;
  std::vector<worker::v1::Sequence> submitted_;
  std::set<uint64_t> cached_blocks_;
  std::deque<uint64_t> cached_in_order_;  // the oldest first
  uint64_t next_event_id_ = 1;
  size_t num_cancelled_ = 0;
  size_t num_batches_ = 0;
  uint64_t tokens_sent_ = 0;
};

// One router's session. Its state is guarded by the service's mutex.
class FakeWorker::Service::Stream final
    : public grpc::ServerBidiReactor<worker::v1::SessionRequest, worker::v1::SessionResponse> {
 public:
  explicit Stream(Service* service) : service_(service) {
    std::lock_guard lock(service_->mutex_);
    service_->streams_.insert(this);
    StartRead(&incoming_);
  }

  // REQUIRES: the service's mutex is held.
  void Send(worker::v1::SessionResponse response) {
    if (finished_) return;
    if (service_->options_.say) service_->options_.say(&response);
    if (response.message_case() == worker::v1::SessionResponse::MESSAGE_NOT_SET) return;
    outgoing_.push_back(std::move(response));
    WriteIfIdle();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      std::lock_guard lock(service_->mutex_);
      if (!std::exchange(finished_, true)) Finish(grpc::Status::OK);
      return;
    }
    service_->Take(this, incoming_);
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(service_->mutex_);
    outgoing_.pop_front();
    writing_ = false;
    if (ok) WriteIfIdle();
  }
  void OnDone() override {
    {
      std::lock_guard lock(service_->mutex_);
      service_->streams_.erase(this);
      service_->changed_.notify_all();
    }
    delete this;
  }

  std::map<uint64_t, Running> running;
  uint64_t last_sequence_id = 0;
  bool welcomed = false;
  size_t backlog() const { return outgoing_.size(); }

 private:
  void WriteIfIdle() {
    if (writing_ || finished_ || outgoing_.empty() || service_->stalled_) return;
    writing_ = true;
    StartWrite(&outgoing_.front());
  }

  Service* const service_;
  worker::v1::SessionRequest incoming_;
  std::deque<worker::v1::SessionResponse> outgoing_;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace pingti::testing
