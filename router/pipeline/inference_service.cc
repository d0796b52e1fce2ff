// See inference_service.h.
#include "router/pipeline/inference_service.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/beams.h"

namespace pingti::router {
namespace {

// What may wait for a worker of its model, all requests together.
constexpr size_t kMostWaiting = 4096;
constexpr size_t kMostWaitingBytes = 64u << 20;

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
  const std::string id = model_names_.Resolve(name);
  std::shared_ptr<const ServedModel> model = registry_->FindModel(id);
  if (model != nullptr) return model;
  if (model_names_.IsConfigured(id) || registry_->Models().empty()) return NoWorker(name);
  return ApiError(absl::StatusCode::kNotFound, Concat("The model '", name, "' does not exist."),
                  "model", "model_not_found");
}

std::shared_ptr<RequestLife> InferenceService::Received(RequestInfo info) const {
  return std::make_shared<RequestLife>(std::move(info), context_->watchers, context_->clock);
}

std::string InferenceService::AnswerName(std::string_view name) const {
  std::string id = model_names_.Resolve(name);
  const std::shared_ptr<const ServedModel> model = registry_->FindModel(id);
  return model == nullptr ? id : model->id;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> InferenceService::FindReadyModel(
    std::string_view name) const {
  PINGTI_ASSIGN_OR_RETURN(std::shared_ptr<const ServedModel> model, FindModel(name));
  // New requests do not queue for a worker to come back; those that already run do (see Resume).
  if (!registry_->HasReadyWorker(model->fingerprint)) return NoWorker(model->id);
  return model;
}

void InferenceService::Start(GenerationRequest request, std::shared_ptr<RequestLife> life,
                             std::shared_ptr<ResponseSink> sink,
                             std::shared_ptr<ClientWatch> client) {
  life->SetModel(request.model);
  auto arrival = std::make_shared<Arrival>(
      Arrival{std::move(request), std::move(life), std::move(sink), std::move(client),
              context_->clock->Now() + context_->options.model_wait});
  absl::StatusOr<std::shared_ptr<const ServedModel>> model = FindReadyModel(arrival->request.model);
  if (model.ok()) {
    StartNow(arrival, *std::move(model));
  } else if (!absl::IsUnavailable(model.status()) || !WaitForWorker(arrival)) {
    Refuse(arrival.get(), model.status());
  }
}

void InferenceService::Refuse(Arrival* arrival, const absl::Status& why) {
  arrival->life->End(why);
  arrival->sink->OnError(why);
}

void InferenceService::StartNow(const ArrivalPtr& arrival,
                                std::shared_ptr<const ServedModel> model) {
  absl::Status valid = CheckBeams(arrival->request, context_->options.max_beams);
  valid.Update(ValidateRequest(*model, arrival->request));
  if (!valid.ok()) return Refuse(arrival.get(), valid);
  arrival->life->Accepted(arrival->request.model, model->id);
  auto generation = std::make_shared<Generation>(context_, std::move(arrival->request),
                                                 std::move(model), arrival->sink, arrival->life);
  {
    MutexLock lock(&mutex_);
    running_.push_back(generation);
  }
  generation->Start();
  arrival->client->OnStarted(generation);
}

bool InferenceService::WaitForWorker(const ArrivalPtr& arrival) {
  const GenerationRequest& request = arrival->request;
  if (context_->options.model_wait.count() == 0) return false;
  if (!model_names_.IsConfigured(model_names_.Resolve(request.model))) return false;
  MutexLock lock(&mutex_);
  if (waiting_.size() >= kMostWaiting || waiting_bytes_ + request.body_bytes > kMostWaitingBytes) {
    return false;
  }
  waiting_bytes_ += request.body_bytes;
  waiting_.push_back(arrival);
  return true;
}

void InferenceService::StartWaiting() {
  std::vector<ArrivalPtr> waiting;
  {
    MutexLock lock(&mutex_);
    waiting.swap(waiting_);
    waiting_bytes_ = 0;
  }
  const auto now = context_->clock->Now();
  for (const ArrivalPtr& arrival : waiting) {
    const absl::StatusOr<std::shared_ptr<const ServedModel>> model =
        FindReadyModel(arrival->request.model);
    if (arrival->client->gone()) {
      Refuse(arrival.get(), absl::CancelledError("the client is gone"));
    } else if (model.ok()) {
      const bool taken = RunPrepared(arrival->request.body_bytes,
                                     [this, arrival, model] { StartNow(arrival, *model); });
      if (!taken) Refuse(arrival.get(), PoolFull());
    } else if (!absl::IsUnavailable(model.status()) || now >= arrival->give_up_at ||
               !WaitForWorker(arrival)) {
      Refuse(arrival.get(), model.status());
    }
  }
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

absl::Status InferenceService::CheckBaseModel(std::string_view name) const {
  const absl::StatusOr<std::shared_ptr<const ServedModel>> model = FindModel(name);
  if (absl::IsNotFound(model.status())) {
    return ApiError(absl::StatusCode::kNotFound, std::string(model.status().message()),
                    "base_model_name", "model_not_found");
  }
  if (!model.ok() || (*model)->adapter.empty()) return model.status();
  return ApiError(
      absl::StatusCode::kInvalidArgument,
      Concat("'", name, "' is an adapter itself: expected the model, '", (*model)->parent, "'"),
      "base_model_name", "invalid_value");
}

absl::Status InferenceService::CheckNewAdapterName(std::string_view name) const {
  const std::shared_ptr<const ServedModel> known = registry_->FindModel(name);
  const bool is_model = known != nullptr && known->adapter.empty();
  if (!is_model && !model_names_.IsConfigured(name) && model_names_.Resolve(name) == name) {
    return absl::OkStatus();
  }
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("'", name, "' is a model or another name of one: expected a new name"),
                  "lora_name", "invalid_value");
}

absl::Status InferenceService::Change(const AdapterChange& change, std::string_view model,
                                      AdapterChangeDone done) {
  if (!context_->options.adapter_changes) {
    return ApiError(absl::StatusCode::kPermissionDenied,
                    "adapters may not be changed: allow_runtime_lora_updating is off", "",
                    "not_allowed");
  }
  if (!model.empty()) PINGTI_RETURN_IF_ERROR(CheckBaseModel(model));
  if (change.load) PINGTI_RETURN_IF_ERROR(CheckNewAdapterName(change.name));
  return ChangeAdapter(*registry_, change, model_names_.Resolve(model), std::move(done));
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
  StartWaiting();
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
  std::vector<ArrivalPtr> waiting;
  {
    MutexLock lock(&mutex_);
    running.swap(running_);
    waiting.swap(waiting_);
    waiting_bytes_ = 0;
  }
  for (const ArrivalPtr& arrival : waiting) Refuse(arrival.get(), why);
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
