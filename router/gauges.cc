// See gauges.h.
#include "router/gauges.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

namespace pingti::router {

void Gauges::Update() {
  std::map<std::string_view, int> states;
  for (const WorkerState state : {WorkerState::kConnecting, WorkerState::kReady,
                                  WorkerState::kDraining, WorkerState::kDead}) {
    states[WorkerStateName(state)] = 0;
  }
  for (const WorkerStatus& worker : registry_->Workers()) ++states[WorkerStateName(worker.state)];
  for (const auto& [state, count] : states) metrics_->workers.With({state}).Set(count);
  metrics_->queued_tokens.Set(static_cast<double>(admission_->queued_tokens()));
  metrics_->body_bytes.Set(static_cast<double>(bodies_->used()));
  UpdateModels();
}

void Gauges::UpdateModels() {
  std::map<std::string, uint32_t> ready;
  const std::shared_ptr<const ModelTable> named = names_->table();  // a reload may replace it
  for (const std::string& model : named->models) {
    const std::shared_ptr<const ServedModel> served = registry_->FindModel(model);
    if (served == nullptr || served->id == model) ready[model] = 0;  // else it is an alias
  }
  for (const ModelStatus& status : registry_->Models()) {
    ready[status.model->id] += status.ready_workers;
  }
  for (const auto& [model, count] : ready) {
    metrics_->ready_workers.With({model}).Set(count);
    if (shown_.insert(model).second)
      metrics_->queued_requests.With({model});  // there from the start
  }
  std::erase_if(shown_, [&](const std::string& model) {
    if (ready.contains(model)) return false;
    metrics_->ready_workers.Remove({model});
    return true;
  });
}

}  // namespace pingti::router
