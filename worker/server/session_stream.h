// One router's Session stream over gRPC's callback API.
//
// Reads feed the engine, the outbox is written. A read may complete before the write in flight
// does, so whether a write may start is decided by write_in_flight_ alone, never by reads. Owned by
// the hub from Hello to OnDone, before that by itself. Includes gRPC's headers: only
// worker_service.cc needs it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "worker/engine/engine.h"
#include "worker/server/outbox.h"
#include "worker/server/session_hub.h"

namespace pingti::worker {

// Thread-safe; callbacks come on gRPC's threads.
class SessionStream final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                            public SessionWriter,
                            public std::enable_shared_from_this<SessionStream> {
 public:
  SessionStream(Engine* engine, SessionHub* hub, const Clock* clock);
  // Starts reading; the stream then keeps itself alive until OnDone.
  void Begin();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Flush() override;
  void EndWhenFlushed() override;

 private:
  void HandleMessage();
  void HandleHello(const v1::Hello& hello);
  void HandleSubmit(const v1::SubmitBatch& batch);
  void RefuseWhileDraining(const v1::SubmitBatch& batch);
  // REQUIRES: write_in_flight_ was set by the caller.
  void WriteNext();
  // Ends the stream now or when the write in flight is done. The first status counts.
  void End(grpc::Status status);
  void FinishIfIdle();
  void CloseSession();

  Engine* const engine_;
  SessionHub* const hub_;
  const Clock* const clock_;
  const std::shared_ptr<Outbox> outbox_;  // shared with the engine's sink

  v1::SessionRequest incoming_;   // read callbacks only
  v1::SessionResponse outgoing_;  // whoever set write_in_flight_
  SessionId session_ = 0;         // read callbacks only; 0 before Hello and after the end

  Mutex mutex_;
  // Held by whoever fills and writes outgoing_.
  bool write_in_flight_ PINGTI_GUARDED_BY(mutex_) = false;
  bool flush_again_ PINGTI_GUARDED_BY(mutex_) = false;
  bool ending_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finished_ PINGTI_GUARDED_BY(mutex_) = false;
  bool end_when_flushed_ PINGTI_GUARDED_BY(mutex_) = false;
  grpc::Status end_status_ PINGTI_GUARDED_BY(mutex_);
  std::shared_ptr<SessionStream> self_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::worker
