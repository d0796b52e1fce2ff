// The router's side of one worker address: connects, learns the model, keeps one Session stream
// open, and starts over with backoff and jitter whenever that ends.
//
// Owns one thread (connection life cycle: card, assets, waiting for the stream's end, backoff); the
// stream itself runs on gRPC's callback threads (session.h). Reports everything to WorkerEvents.
// Read next: session.h, then router/registry/worker_registry.h, which listens.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "router/worker_link/messages.h"
#include "router/worker_link/served_model.h"

namespace grpc {
class ChannelCredentials;
class ClientContext;
}  // namespace grpc

namespace pingti::router {

class ModelStore;
class Session;

// A worker that answered Welcome.
struct WorkerInfo {
  std::string worker_id;
  std::string incarnation;
  std::shared_ptr<const ServedModel> model;
  std::vector<std::shared_ptr<const ServedModel>> adapters;  // of the model, as models
  uint32_t max_batch_size = 0;
  uint64_t kv_total_blocks = 0;
  uint32_t credit_sequences = 0;
  uint32_t credit_tokens = 0;
  bool holds_outputs = false;  // for Sequence::output_interval
};

using LinkId = uint64_t;

// What a link tells. Per link the calls are serial: OnReady, then anything, then one OnLost; called
// on gRPC or link threads without any lock of the link held. Must not block.
class WorkerEvents {
 public:
  virtual ~WorkerEvents() = default;
  virtual void OnConnecting(LinkId link) = 0;
  virtual void OnReady(LinkId link, const WorkerInfo& info) = 0;
  virtual void OnStepOutput(LinkId link, StepOutput output) = 0;
  virtual void OnLoadReport(LinkId link, const LoadReport& report) = 0;
  virtual void OnKvEvents(LinkId link, const KvEvents& events) = 0;
  virtual void OnSubmitCredit(LinkId link, const SubmitCredit& credit) = 0;
  virtual void OnDraining(LinkId link) = 0;
  // These are the adapters that the worker has now, as models.
  virtual void OnAdapters(LinkId link,
                          std::vector<std::shared_ptr<const ServedModel>> adapters) = 0;
  // The session ended (stalled, stream broken, refused). Also called when a connection attempt
  // failed before OnReady.
  virtual void OnLost(LinkId link, const absl::Status& why) = 0;
};

struct WorkerLinkOptions {
  std::string router_id;
  std::chrono::milliseconds connect_timeout{5'000};  // card and Welcome, each
  std::chrono::milliseconds asset_timeout{60'000};
  // A ready worker that sends nothing for this long (not even a load report) is given up.
  std::chrono::milliseconds stall_timeout{1'500};
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{5'000};
  int max_message_bytes = 100 << 20;
  // TLS to the worker. The files are PEM and read anew for each connection; without a CA file the
  // system's certificates count.
  bool tls = false;
  std::string tls_ca_file{};
  std::string tls_cert_file{};  // with the key: what the router shows of itself
  std::string tls_key_file{};
  std::string tls_server_name{};  // empty: the worker's address
};

// OK when the TLS files, if any, can be used. Errors name the file, or the setting without "tls".
absl::Status CheckLinkTls(const WorkerLinkOptions& options);

// What the registry needs of a link; tests put a scripted one in its place.
class WorkerChannel {
 public:
  virtual ~WorkerChannel() = default;
  // Queues sequences for the next SubmitBatch. Dropped silently when the session is gone: OnLost
  // has been or will be called, and whoever listens resubmits.
  virtual void Submit(std::vector<Sequence> sequences) = 0;
  virtual void Cancel(uint64_t sequence_id) = 0;
  // `done` is called once, on any thread, perhaps before this returns, with what the worker said.
  // Unavailable: it could not be asked.
  using ChangeDone = std::function<void(const absl::Status&)>;
  virtual void ChangeAdapter(const AdapterChange& /*change*/, const ChangeDone& done) {
    done(absl::UnavailableError("the worker is not connected"));
  }
};

// Thread-safe.
class WorkerLink final : public WorkerChannel {
 public:
  // `events`, `models` and `clock` must outlive this. Starts connecting at once.
  WorkerLink(LinkId id, std::string address, WorkerLinkOptions options, ModelStore* models,
             WorkerEvents* events, const Clock* clock);
  // Ends the session (without OnLost) and joins; no event comes after it.
  ~WorkerLink() override;

  void Submit(std::vector<Sequence> sequences) override;
  void Cancel(uint64_t sequence_id) override;
  void ChangeAdapter(const AdapterChange& change, const ChangeDone& done) override;

  const std::string& address() const { return address_; }

 private:
  void Run();
  // One connection from card to the end of the stream. `was_ready` says whether it was ever of use.
  absl::Status RunOnce(bool* was_ready);
  absl::Status RunSession(Session* session);
  bool SleepUnlessStopped(std::chrono::milliseconds duration);
  std::chrono::milliseconds Backoff(int failures);

  const LinkId id_;
  const std::string address_;
  const WorkerLinkOptions options_;
  ModelStore* const models_;
  WorkerEvents* const events_;
  const Clock* const clock_;
  std::minstd_rand jitter_;  // link thread only

  Mutex mutex_;
  CondVar stop_requested_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* running_call_ PINGTI_GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<Session> session_ PINGTI_GUARDED_BY(mutex_);  // shared with callers in Submit
  std::thread thread_;
};

}  // namespace pingti::router
