// What both transports call: find the model, start a generation, list models, tokenize.
//
// Keeps the requests that run, to tick them and to end them when the router stops.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "router/pipeline/adapter_changes.h"
#include "router/pipeline/client_watch.h"
#include "router/pipeline/generation.h"
#include "router/pipeline/model_names.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {

// Thread-safe.
class InferenceService {
 public:
  // All must outlive this.
  InferenceService(const GenerationContext* context, WorkerRegistry* registry)
      : context_(context), registry_(registry) {}

  // The models that the settings name.
  ModelNames& model_names() { return model_names_; }
  const ModelNames& model_names() const { return model_names_; }

  // A request has arrived; observers hear of it from here on.
  std::shared_ptr<RequestLife> Received(RequestInfo info) const;

  // Starts the request; `sink` may hear its end before this returns, also that it was refused:
  // NotFound (model), Unavailable (no worker is ready), InvalidArgument naming the field. One for a
  // configured model without a ready worker may wait for that, see GenerationOptions::model_wait.
  // `client` is told of the generation. REQUIRES: runs within a task of RunPrepared.
  void Start(GenerationRequest request, std::shared_ptr<RequestLife> life,
             std::shared_ptr<ResponseSink> sink, std::shared_ptr<ClientWatch> client);

  // The prompt that a request would have, for those who only want to count. See TokenizePrompt.
  // Errors: as Start.
  struct TokenizedPrompt {
    std::vector<uint32_t> ids;
    uint32_t max_context_tokens;
  };
  absl::StatusOr<TokenizedPrompt> Tokenize(const GenerationRequest& request,
                                           bool add_special_tokens) const;
  // The text of ids, special tokens spelled out. Errors: as Start.
  absl::StatusOr<std::string> Detokenize(std::string_view model,
                                         const std::vector<uint32_t>& ids) const;

  // Of an id, or an alias of the settings or of a worker. Errors: NotFound; Unavailable for a
  // configured model that no known worker serves, and for any while no worker is known.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(std::string_view name) const;
  // The id of the model that answers to `name`, for the answer to say.
  std::string AnswerName(std::string_view name) const;
  std::vector<ModelStatus> Models() const { return registry_->Models(); }

  // See adapter_changes.h. Errors, also: PermissionDenied unless the settings allow it; NotFound
  // and InvalidArgument for a `model` that there is not, or that is an adapter; InvalidArgument for
  // a new adapter with a model's name.
  absl::Status Change(const AdapterChange& change, std::string_view model, AdapterChangeDone done);

  // Where requests are read and prepared: runs `task` now, or on the pool when the request it
  // serves is long. False: the pool is full.
  bool RunPrepared(size_t body_bytes, std::function<void()> task);

  const GenerationContext& context() const { return *context_; }

  // Deadlines and keep-alives of everything that runs. Call every 100 ms or so.
  void Tick();
  // Ends everything that runs; clients are told `why`.
  void CancelAll(const absl::Status& why);
  size_t num_running() const;

 private:
  // A request on its way in.
  struct Arrival {
    GenerationRequest request;
    std::shared_ptr<RequestLife> life;
    std::shared_ptr<ResponseSink> sink;
    std::shared_ptr<ClientWatch> client;
    std::chrono::steady_clock::time_point give_up_at;  // waiting for a worker
  };
  using ArrivalPtr = std::shared_ptr<Arrival>;

  // FindModel, and a worker is ready for it. Errors: as there.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindReadyModel(std::string_view name) const;
  absl::Status CheckBaseModel(std::string_view name) const;
  absl::Status CheckNewAdapterName(std::string_view name) const;
  void StartNow(const ArrivalPtr& arrival, std::shared_ptr<const ServedModel> model);
  // False: it may not wait.
  bool WaitForWorker(const ArrivalPtr& arrival);
  // Starts those whose model has a ready worker now, and ends those that waited long enough.
  void StartWaiting();
  static void Refuse(Arrival* arrival, const absl::Status& why);

  const GenerationContext* const context_;
  WorkerRegistry* const registry_;
  ModelNames model_names_;
  mutable Mutex mutex_;
  std::vector<std::weak_ptr<Generation>> running_ PINGTI_GUARDED_BY(mutex_);
  std::vector<ArrivalPtr> waiting_ PINGTI_GUARDED_BY(mutex_);  // for a worker of their model
  size_t waiting_bytes_ PINGTI_GUARDED_BY(mutex_) = 0;         // of their requests
};

}  // namespace pingti::router
