// One Session stream over gRPC's callback API: queues what goes up, hands out what comes down.
//
// Writes are gated on OnWriteDone only (a reply may overtake it, so OnReadDone never starts a
// write); while one write is in flight everything else gathers, which is what makes batches under
// load. Included only inside router/worker_link: it needs gRPC's headers.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "router/worker_link/worker_link.h"

namespace pingti::router {

// Thread-safe. The owner keeps it alive until Join returned.
class Session final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // `card_info` is completed by the worker's Welcome and then given to OnReady. One message up is
  // at most `max_message_bytes`, and what the worker's Welcome says: a sequence that is larger ends
  // with InvalidArgument. What breaks the protocol coming down ends the session with an error that
  // says so.
  Session(LinkId link, std::shared_ptr<grpc::Channel> channel, WorkerInfo card_info,
          int max_message_bytes, WorkerEvents* events, const Clock* clock);

  void Start(const std::string& router_id);
  void Submit(std::vector<Sequence> sequences);
  void Cancel(uint64_t sequence_id);

  // Ends the stream; OnDone follows soon. The first reason given is the one that Join reports.
  void Abort(const absl::Status& why);

  // Waits until the stream is done or `deadline` passes; true when done.
  bool WaitDone(std::chrono::steady_clock::time_point deadline);
  // After done: why.
  absl::Status result();

  // The worker's silence so far counts no more.
  void GrantFreshPeriod() { Touch(); }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  std::chrono::steady_clock::time_point last_message() const {
    return std::chrono::steady_clock::time_point(
        std::chrono::steady_clock::duration(last_message_.load(std::memory_order_relaxed)));
  }

  // gRPC's callbacks.
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void Touch();
  void HandleMessage(worker::v1::SessionResponse* response);
  void HandleWelcome(const worker::v1::Welcome& welcome);
  std::vector<std::shared_ptr<const ServedModel>> AdapterModels(
      const worker::v1::AdapterList& list);
  // Ends sequences that no message up may hold.
  void RejectTooLarge(const std::vector<uint64_t>& sequence_ids, size_t most);
  void CountStepOutput();
  bool BuildNextWrite() PINGTI_REQUIRES(mutex_);
  void WriteIfIdle() PINGTI_REQUIRES(mutex_);
  void Close();

  const LinkId link_;
  const int max_message_bytes_;  // what this router reads
  const std::shared_ptr<grpc::Channel> channel_;
  WorkerEvents* const events_;
  const Clock* const clock_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;  // gRPC's while it reads, else read callbacks only
  // Holds the message that is being handled, so that its hundreds of parts end at once. Read
  // callbacks only.
  google::protobuf::Arena arena_;
  uint32_t outputs_read_ = 0;  // read callbacks only, since credit was last given back
  std::atomic<bool> ready_{false};
  std::atomic<int64_t> last_message_{0};

  Mutex mutex_;
  const WorkerInfo card_info_ PINGTI_GUARDED_BY(mutex_);
  CondVar done_changed_;
  worker::v1::SessionRequest request_ PINGTI_GUARDED_BY(mutex_);
  grpc::ByteBuffer outgoing_;                   // owned by gRPC while write_in_flight_
  size_t most_sent_ PINGTI_GUARDED_BY(mutex_);  // bytes of one message up
  bool write_in_flight_ PINGTI_GUARDED_BY(mutex_) = false;
  bool closed_ PINGTI_GUARDED_BY(mutex_) = false;
  bool done_ PINGTI_GUARDED_BY(mutex_) = false;
  absl::Status result_ PINGTI_GUARDED_BY(mutex_);
  bool hello_pending_ PINGTI_GUARDED_BY(mutex_) = true;
  uint32_t credit_to_give_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> cancels_ PINGTI_GUARDED_BY(mutex_);
  std::vector<worker::v1::Sequence> submits_ PINGTI_GUARDED_BY(mutex_);
  std::string router_id_;
};

}  // namespace pingti::router
