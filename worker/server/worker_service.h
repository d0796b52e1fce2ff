// The gRPC service pingti.worker.v1.Worker. Includes gRPC's headers: only worker_server.cc needs
// it.
#pragma once

#include <grpcpp/grpcpp.h>

#include "common/base/clock.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "worker/adapters/adapter_store.h"
#include "worker/engine/engine.h"
#include "worker/server/adapter_changes.h"
#include "worker/server/model_card.h"
#include "worker/server/session_hub.h"

namespace pingti::worker {

// Sessions come as bytes, so that they are looked at before they are parsed.
using WorkerServiceBase =
    v1::Worker::WithCallbackMethod_GetModelCard<v1::Worker::WithCallbackMethod_GetModelAsset<
        v1::Worker::WithCallbackMethod_LoadAdapter<v1::Worker::WithCallbackMethod_UnloadAdapter<
            v1::Worker::WithRawCallbackMethod_Session<v1::Worker::Service>>>>>;

// Thread-safe. Everything borrowed must outlive the gRPC server it is registered with.
class WorkerService final : public WorkerServiceBase {
 public:
  // `adapters` and `changes` may be null: there are none. Unless `may_change`, routers cannot load
  // or unload any.
  WorkerService(const ServedCard* served, Engine* engine, SessionHub* hub, AdapterStore* adapters,
                AdapterChanges* changes, bool may_change, const Clock* clock)
      : served_(served),
        engine_(engine),
        hub_(hub),
        adapters_(adapters),
        changes_(changes),
        may_change_(may_change),
        clock_(clock) {}

  grpc::ServerUnaryReactor* GetModelCard(grpc::CallbackServerContext* context,
                                         const v1::GetModelCardRequest* request,
                                         v1::ModelCard* card) override;
  grpc::ServerWriteReactor<v1::AssetChunk>* GetModelAsset(
      grpc::CallbackServerContext* context, const v1::GetModelAssetRequest* request) override;
  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* context,
                                        const v1::LoadAdapterRequest* request,
                                        v1::Adapter* adapter) override;
  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* context,
                                          const v1::UnloadAdapterRequest* request,
                                          v1::UnloadAdapterResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Session(
      grpc::CallbackServerContext* context) override;

 private:
  const ServedCard* const served_;
  Engine* const engine_;
  SessionHub* const hub_;
  AdapterStore* const adapters_;
  AdapterChanges* const changes_;
  const bool may_change_;
  const Clock* const clock_;
};

}  // namespace pingti::worker
