// One router's Session stream over gRPC's callback API.
//
// Reads feed the engine, one message at a time: the next is read once the engine has taken it, so
// that a router cannot fill the engine's mailbox. The outbox is written. A read may complete before
// the write in flight does, so whether a write may start is decided by write_in_flight_ alone,
// never by reads. Owned by the hub from Hello to OnDone, before that by itself. Includes gRPC's
// headers: only worker_service.cc needs it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "worker/adapters/adapter_store.h"
#include "worker/engine/engine.h"
#include "worker/server/adapter_changes.h"
#include "worker/server/outbox.h"
#include "worker/server/session_hub.h"

namespace pingti::worker {

// Thread-safe; callbacks come on gRPC's threads.
class SessionStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                            public SessionWriter,
                            public std::enable_shared_from_this<SessionStream> {
 public:
  // `adapters` may be null: there are none. `changes` is there if they are.
  SessionStream(Engine* engine, SessionHub* hub, AdapterStore* adapters, AdapterChanges* changes,
                const Clock* clock);
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
  // What the engine calls when it has taken a message; until then nothing more is read.
  std::function<void()> HoldUntilTaken();
  void DropHold();
  // Starts the next read if nothing holds it any more.
  void ReadOn();
  // Ends a session that breaks the protocol.
  void Refuse(const absl::Status& why);
  void HandleHello(const v1::Hello& hello);
  void HandleSubmit(const v1::SubmitBatch& batch);
  // The request of a sequence; one that names an unknown adapter will be rejected.
  Request MakeRequest(const v1::Sequence& sequence, TimePoint now) const;
  void HandleCancel(const v1::Cancel& cancel);
  void RefuseWhileDraining(const v1::SubmitBatch& batch);
  // REQUIRES: write_in_flight_ was set by the caller.
  void WriteNext();
  // Ends the stream now or when the write in flight is done. The first status counts.
  void End(grpc::Status status);
  void FinishIfIdle();
  void CloseSession();

  Engine* const engine_;
  SessionHub* const hub_;
  AdapterStore* const adapters_;
  AdapterChanges* const changes_;
  const Clock* const clock_;
  const std::shared_ptr<Outbox> outbox_;  // shared with the engine's sink

  grpc::ByteBuffer incoming_;     // gRPC's while it reads, else read callbacks only
  v1::SessionRequest request_;    // read callbacks only
  v1::SessionResponse response_;  // whoever set write_in_flight_
  grpc::ByteBuffer outgoing_;     // gRPC's while it writes, else whoever set write_in_flight_
  SessionId session_ = 0;         // read callbacks only; 0 before Hello and after the end

  Mutex mutex_;
  // Held by whoever fills and writes outgoing_.
  bool write_in_flight_ PINGTI_GUARDED_BY(mutex_) = false;
  // Why the next read waits: the message is being handled, the engine has not taken it.
  int holds_ PINGTI_GUARDED_BY(mutex_) = 0;
  bool read_on_ PINGTI_GUARDED_BY(mutex_) = false;  // there are none, and no read was started yet
  bool flush_again_ PINGTI_GUARDED_BY(mutex_) = false;
  bool ending_ PINGTI_GUARDED_BY(mutex_) = false;
  bool finished_ PINGTI_GUARDED_BY(mutex_) = false;
  bool end_when_flushed_ PINGTI_GUARDED_BY(mutex_) = false;
  grpc::Status end_status_ PINGTI_GUARDED_BY(mutex_);
  std::shared_ptr<SessionStream> self_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::worker
