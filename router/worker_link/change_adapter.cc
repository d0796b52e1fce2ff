// See change_adapter.h.
#include "router/worker_link/change_adapter.h"

#include <chrono>
#include <utility>

#include "proto/pingti/worker/v1/worker.grpc.pb.h"

namespace pingti::router {
namespace {

// Adapters are read from file systems that may be far away.
constexpr std::chrono::minutes kPatience{5};

// One call and all that gRPC reads and writes meanwhile.
template <typename Request, typename Response>
struct Call {
  explicit Call(std::shared_ptr<grpc::Channel> over)
      : channel(std::move(over)), stub(worker::v1::Worker::NewStub(channel)) {
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
  }

  const std::shared_ptr<grpc::Channel> channel;  // shared with the link's session
  const std::unique_ptr<worker::v1::Worker::Stub> stub;
  grpc::ClientContext context;
  Request request;
  Response response;
};

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

void CallChangeAdapter(std::shared_ptr<grpc::Channel> channel, const AdapterChange& change,
                       WorkerChannel::ChangeDone done) {
  if (change.load) {
    auto call = std::make_shared<Call<worker::v1::LoadAdapterRequest, worker::v1::Adapter>>(
        std::move(channel));
    call->request.set_name(change.name);
    call->request.set_path(change.path);
    call->stub->async()->LoadAdapter(
        &call->context, &call->request, &call->response,
        [call, done = std::move(done)](const grpc::Status& status) { done(FromGrpc(status)); });
    return;
  }
  auto call =
      std::make_shared<Call<worker::v1::UnloadAdapterRequest, worker::v1::UnloadAdapterResponse>>(
          std::move(channel));
  call->request.set_name(change.name);
  call->stub->async()->UnloadAdapter(
      &call->context, &call->request, &call->response,
      [call, done = std::move(done)](const grpc::Status& status) { done(FromGrpc(status)); });
}

}  // namespace pingti::router
