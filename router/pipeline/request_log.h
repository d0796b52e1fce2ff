// One line in the log and one count in the metrics for every request that was answered.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "router/api/request.h"

namespace pingti::router {

class InferenceService;

struct RequestRecord {
  std::string_view endpoint;  // "/v1/chat/completions", "pingti.v1.Inference/Chat"
  std::string_view model;     // as the client wrote it
  std::string_view id;
  std::string code;  // HTTP or gRPC status
  std::chrono::steady_clock::time_point arrived;
};

// Thread-safe.
void RecordRequest(const InferenceService& service, const RequestRecord& record,
                   const UsageCounts& usage);

}  // namespace pingti::router
