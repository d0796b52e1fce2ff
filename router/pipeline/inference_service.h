// What both transports call: find the model, start a generation, list models, tokenize.
//
// Keeps the requests that run, to tick them and to end them when the router stops.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "router/pipeline/generation.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {

// Thread-safe.
class InferenceService {
 public:
  // All must outlive this.
  InferenceService(const GenerationContext* context, WorkerRegistry* registry)
      : context_(context), registry_(registry) {}

  // A request has arrived; observers hear of it from here on.
  std::shared_ptr<RequestLife> Received(RequestInfo info) const;

  // Starts the request; `sink` may hear its end before this returns. Null: it was refused, and
  // `sink` heard why: NotFound (model), Unavailable (no worker is known yet), InvalidArgument
  // naming the field. REQUIRES: runs within a task of RunPrepared.
  std::shared_ptr<Generation> Start(GenerationRequest request, std::shared_ptr<RequestLife> life,
                                    std::shared_ptr<ResponseSink> sink);

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

  // Errors: NotFound, Unavailable.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(std::string_view name) const;
  std::vector<ModelStatus> Models() const { return registry_->Models(); }

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
  absl::StatusOr<std::shared_ptr<Generation>> Make(GenerationRequest request,
                                                   const std::shared_ptr<RequestLife>& life,
                                                   const std::shared_ptr<ResponseSink>& sink);

  const GenerationContext* const context_;
  WorkerRegistry* const registry_;
  mutable Mutex mutex_;
  std::vector<std::weak_ptr<Generation>> running_ PINGTI_GUARDED_BY(mutex_);
};

}  // namespace pingti::router
