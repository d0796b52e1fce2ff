// pingti.v1.Inference: the HTTP API's requests over gRPC, on the callback API (no thread waits).
//
// Calls are taken as bytes, before gRPC has made anything of them: who has no key is refused
// without its message being read, and messages are counted before they are parsed. Read next:
// grpc_call.h, which carries one call; common/net/wire_check.h.
#pragma once

#include <memory>
#include <string>

#include "common/base/memory_budget.h"
#include "router/admission/api_keys.h"
#include "router/grpc/read_turns.h"
#include "router/pipeline/inference_service.h"

namespace grpc {
class CallbackGenericService;
}

namespace pingti::router {

// All must outlive it. Requests are read as `turns` has it, and take four times their bytes of
// `bodies` while they are prepared. Thread-safe.
std::unique_ptr<grpc::CallbackGenericService> MakeInferenceGrpc(InferenceService* service,
                                                                const ApiKeys* keys,
                                                                MemoryBudget* bodies,
                                                                ReadTurns* turns);

// "pingti.v1.Inference"
std::string InferenceServiceName();

}  // namespace pingti::router
