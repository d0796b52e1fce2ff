// pingti.v1.Inference: the HTTP API's requests over gRPC, on the callback API (no thread waits).
// Read next: stream_answer.h, which carries one streamed answer.
#pragma once

#include <memory>
#include <string>

#include "router/admission/api_keys.h"
#include "router/pipeline/inference_service.h"

namespace grpc {
class Service;
}

namespace pingti::router {

// Both must outlive it. Thread-safe.
std::unique_ptr<grpc::Service> MakeInferenceGrpc(InferenceService* service, const ApiKeys* keys);

// "pingti.v1.Inference"
std::string InferenceServiceName();

}  // namespace pingti::router
