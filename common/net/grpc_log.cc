// The hook is process-wide by gRPC's design.
#include "common/net/grpc_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include "common/base/log.h"

namespace pingti::net {
namespace {

void OnGrpcMessage(gpr_log_func_args* message) {
  const LogLevel level = message->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kWarning
                         : message->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                      : LogLevel::kDebug;
  Log(level, "grpc",
      {{"detail", message->message}, {"file", message->file}, {"line", message->line}});
}

}  // namespace

void RouteGrpcLog() {
  gpr_set_log_function(OnGrpcMessage);
  // It would say on stderr, and wait for whoever reads that, what is wrong with a client's bytes.
  google::protobuf::SetLogHandler(nullptr);
}

}  // namespace pingti::net
