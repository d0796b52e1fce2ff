// See request_log.h.
#include "router/pipeline/request_log.h"

#include "common/base/log.h"
#include "router/pipeline/inference_service.h"

namespace pingti::router {

void RecordRequest(const InferenceService& service, const RequestRecord& record,
                   const UsageCounts& usage) {
  const GenerationContext& context = service.context();
  const double seconds =
      std::chrono::duration<double>(context.clock->Now() - record.arrived).count();
  // Names of models that do not exist stay out of the labels: anybody can make them up.
  const std::string_view model = service.FindModel(record.model).ok() ? record.model : "";
  context.metrics->requests.With({record.endpoint, model, record.code}).Increment();
  context.metrics->request_duration_seconds.With({record.endpoint, model}).Observe(seconds);
  LogInfo("request finished", {{"request_id", record.id},
                               {"endpoint", record.endpoint},
                               {"model", record.model},
                               {"code", record.code},
                               {"prompt_tokens", usage.prompt_tokens},
                               {"completion_tokens", usage.completion_tokens},
                               {"seconds", seconds}});
}

}  // namespace pingti::router
