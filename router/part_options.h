// What the settings say to each part of the router that takes them in other words. Used by wiring
// alone.
#pragma once

#include "common/base/memory_budget.h"
#include "common/metrics/router_metrics.h"
#include "common/net/grpc_server.h"
#include "common/net/http_server.h"
#include "router/discovery/discovery.h"
#include "router/grpc/read_turns.h"
#include "router/http/api_handler.h"
#include "router/http/cors.h"
#include "router/router_config.h"
#include "router/worker_link/worker_link.h"

namespace pingti::router {

// With a new router_id.
WorkerLinkOptions MakeLinkOptions(const RouterConfig& config);
// `metrics` outlive the discovery.
DiscoveryOptions MakeDiscoveryOptions(const RouterConfig& config, metrics::RouterMetrics* metrics);
// So many that messages on their way in take no more than half of what HTTP bodies may take.
ReadLimits MakeReadLimits(const RouterConfig& config);
net::GrpcServerOptions MakeGrpcOptions(const RouterConfig& config);
// Budget, handler and policy outlive the server. Raises the process's limit of open files.
net::HttpServerOptions MakeHttpOptions(const RouterConfig& config, MemoryBudget* bodies,
                                       const ApiHandler* handler, const CorsPolicy* cors);

}  // namespace pingti::router
