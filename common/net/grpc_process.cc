// See grpc_process.h. All of it is process-wide by the libraries' design.
#include "common/net/grpc_process.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include "absl/synchronization/mutex.h"
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

void SetUpGrpc() {
  gpr_set_log_function(OnGrpcMessage);
  // It would say on stderr, and wait for whoever reads that, what is wrong with a client's bytes.
  google::protobuf::SetLogHandler(nullptr);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace pingti::net
