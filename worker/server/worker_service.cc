// See worker_service.h.
#include "worker/server/worker_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/strings.h"
#include "worker/server/session_stream.h"

namespace pingti::worker {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

// Sends one asset in chunks; deletes itself when done.
class AssetWriter final : public grpc::ServerWriteReactor<v1::AssetChunk> {
 public:
  explicit AssetWriter(std::string_view bytes) : rest_(bytes) { WriteNext(); }
  explicit AssetWriter(grpc::Status status) { Finish(std::move(status)); }

  void OnWriteDone(bool ok) override {
    if (ok) {
      WriteNext();
    } else {
      Finish({grpc::StatusCode::CANCELLED, "the reader went away"});
    }
  }
  void OnDone() override { delete this; }

 private:
  void WriteNext() {
    if (rest_.empty()) return Finish(grpc::Status::OK);
    const size_t size = std::min(rest_.size(), kChunkBytes);
    chunk_.set_data(rest_.data(), size);
    rest_.remove_prefix(size);
    StartWrite(&chunk_);
  }

  std::string_view rest_;  // of the service's asset, which outlives all calls
  v1::AssetChunk chunk_;
};

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

grpc::Status ChangesAreOff() {
  return {grpc::StatusCode::FAILED_PRECONDITION,
          "allow_runtime_lora_updating is off in this worker's settings"};
}

}  // namespace

grpc::ServerUnaryReactor* WorkerService::GetModelCard(grpc::CallbackServerContext* context,
                                                      const v1::GetModelCardRequest* /*request*/,
                                                      v1::ModelCard* card) {
  *card = served_->card;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<v1::AssetChunk>* WorkerService::GetModelAsset(
    grpc::CallbackServerContext* /*context*/, const v1::GetModelAssetRequest* request) {
  const auto asset = served_->assets.find(request->sha256());
  if (asset == served_->assets.end()) {
    return new AssetWriter(grpc::Status(
        grpc::StatusCode::NOT_FOUND,
        Concat("the model card names no asset with sha256 '", request->sha256(), "'")));
  }
  return new AssetWriter(asset->second);
}

grpc::ServerUnaryReactor* WorkerService::LoadAdapter(grpc::CallbackServerContext* context,
                                                     const v1::LoadAdapterRequest* request,
                                                     v1::Adapter* adapter) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (changes_ == nullptr || !may_change_) {
    reactor->Finish(ChangesAreOff());
    return reactor;
  }
  changes_->Load(request->name(), request->path(),
                 [reactor, adapter](const absl::StatusOr<AdapterPtr>& loaded) {
                   if (loaded.ok()) {
                     adapter->set_id((*loaded)->id);
                     adapter->set_name((*loaded)->name);
                     adapter->set_path((*loaded)->path);
                   }
                   reactor->Finish(ToGrpc(loaded.status()));
                 });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::UnloadAdapter(grpc::CallbackServerContext* context,
                                                       const v1::UnloadAdapterRequest* request,
                                                       v1::UnloadAdapterResponse* /*response*/) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (changes_ == nullptr || !may_change_) {
    reactor->Finish(ChangesAreOff());
    return reactor;
  }
  changes_->Unload(request->name(), [reactor](const absl::StatusOr<AdapterPtr>& unloaded) {
    reactor->Finish(ToGrpc(unloaded.status()));
  });
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* WorkerService::Session(
    grpc::CallbackServerContext* /*context*/) {
  auto stream = std::make_shared<SessionStream>(engine_, hub_, adapters_, changes_, clock_);
  stream->Begin();
  return stream.get();
}

}  // namespace pingti::worker
