// See inference_service.h.
#include "router/pipeline/inference_service.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

absl::Status NoWorker(std::string_view model) {
  return WithRetryAfter(
      ApiError(absl::StatusCode::kUnavailable,
               Concat("no worker is ready for model '", model, "'; try again in a moment"), "",
               "no_worker"),
      2);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ServedModel>> InferenceService::FindModel(
    std::string_view name) const {
  std::shared_ptr<const ServedModel> model = registry_->FindModel(name);
  if (model != nullptr) return model;
  if (registry_->Models().empty()) return NoWorker(name);
  return ApiError(absl::StatusCode::kNotFound, Concat("The model '", name, "' does not exist."),
                  "model", "model_not_found");
}

std::shared_ptr<RequestLife> InferenceService::Received(RequestInfo info) const {
  return std::make_shared<RequestLife>(std::move(info), context_->watchers, context_->clock);
}

absl::StatusOr<std::shared_ptr<Generation>> InferenceService::Make(
    GenerationRequest request, const std::shared_ptr<RequestLife>& life,
    const std::shared_ptr<ResponseSink>& sink) {
  PINGTI_ASSIGN_OR_RETURN(std::shared_ptr<const ServedModel> model, FindModel(request.model));
  PINGTI_RETURN_IF_ERROR(ValidateRequest(*model, request));
  // New requests do not wait for a worker to come back; those that already run do (see Resume).
  if (!registry_->HasReadyWorker(model->fingerprint)) return NoWorker(model->id);
  life->Accepted(request.model, model->id);
  return std::make_shared<Generation>(context_, std::move(request), std::move(model), sink, life);
}

std::shared_ptr<Generation> InferenceService::Start(GenerationRequest request,
                                                    std::shared_ptr<RequestLife> life,
                                                    std::shared_ptr<ResponseSink> sink) {
  life->SetModel(request.model);
  absl::StatusOr<std::shared_ptr<Generation>> generation = Make(std::move(request), life, sink);
  if (!generation.ok()) {
    life->End(generation.status());
    sink->OnError(generation.status());
    return nullptr;
  }
  {
    MutexLock lock(&mutex_);
    running_.push_back(*generation);
  }
  (*generation)->Start();
  return *std::move(generation);
}

absl::StatusOr<InferenceService::TokenizedPrompt> InferenceService::Tokenize(
    const GenerationRequest& request, bool add_special_tokens) const {
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<const ServedModel> model, FindModel(request.model));
  TokenizedPrompt prompt{{}, model->max_context_tokens};
  PINGTI_ASSIGN_OR_RETURN(
      prompt.ids, TokenizePrompt(*model, request, add_special_tokens, context_->clock->WallNow()));
  return prompt;
}

absl::StatusOr<std::string> InferenceService::Detokenize(std::string_view name,
                                                         const std::vector<uint32_t>& ids) const {
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<const ServedModel> model, FindModel(name));
  return DetokenizeIds(*model, ids);
}

bool InferenceService::RunPrepared(size_t body_bytes, std::function<void()> task) {
  const GenerationOptions& options = context_->options;
  if (body_bytes > options.inline_bytes) {
    const bool is_very_long = body_bytes > options.long_bytes;
    return context_->pool->TryPost(is_very_long ? TaskLength::kVeryLong : TaskLength::kLong,
                                   std::move(task));
  }
  task();
  return true;
}

void InferenceService::Tick() {
  std::vector<std::shared_ptr<Generation>> running;
  {
    MutexLock lock(&mutex_);
    std::erase_if(running_, [&](const std::weak_ptr<Generation>& weak) {
      std::shared_ptr<Generation> generation = weak.lock();
      if (generation == nullptr || generation->done()) return true;
      running.push_back(std::move(generation));
      return false;
    });
  }
  for (const std::shared_ptr<Generation>& generation : running) generation->Tick();
}

void InferenceService::CancelAll(const absl::Status& why) {
  std::vector<std::weak_ptr<Generation>> running;
  {
    MutexLock lock(&mutex_);
    running.swap(running_);
  }
  for (const std::weak_ptr<Generation>& weak : running) {
    if (std::shared_ptr<Generation> generation = weak.lock()) generation->Cancel(why);
  }
}

size_t InferenceService::num_running() const {
  MutexLock lock(&mutex_);
  size_t count = 0;
  for (const std::weak_ptr<Generation>& weak : running_) {
    const std::shared_ptr<Generation> generation = weak.lock();
    if (generation != nullptr && !generation->done()) ++count;
  }
  return count;
}

}  // namespace pingti::router
