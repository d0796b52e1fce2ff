// See follower.h.
#include "worker/group/follower.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/group.grpc.pb.h"
#include "worker/backend/backend.h"
#include "worker/group/messages.h"

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using LeaderStream = grpc::ClientReaderWriter<v1::FollowerMessage, v1::Command>;

constexpr milliseconds kRetryPause{250};

v1::Result Describe(const Model& model, const v1::Command::DescribeRequest& request,
                    const std::string& device) {
  v1::Result result;
  v1::Result::Description* facts = result.mutable_description();
  facts->set_vocab_size(model.vocab_size());
  facts->set_max_context_tokens(model.max_context_tokens());
  facts->set_hidden_size(model.hidden_size());
  if (request.kv_block_tokens() > 0) {
    facts->set_kv_bytes_per_block(model.KvBytesPerBlock(request.kv_block_tokens()));
  }
  if (request.max_batch_tokens() > 0) {
    facts->set_workspace_bytes(
        model.WorkspaceBytes(request.max_batch_tokens(), request.max_batch_size()));
  }
  facts->set_device(device);
  return result;
}

absl::StatusOr<v1::Result> Export(Model* model, const v1::Command::ExportBlocks& command) {
  const auto bytes = static_cast<size_t>(model->kv_block_layout().bytes);
  v1::Result result;
  std::string* data = result.mutable_data();
  data->resize(static_cast<size_t>(command.blocks_size()) * bytes);
  PINGTI_RETURN_IF_ERROR(
      model->ExportBlocks({command.blocks().data(), static_cast<size_t>(command.blocks_size())},
                          std::as_writable_bytes(std::span(*data))));
  return result;
}

}  // namespace

void FollowerStop::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  if (cancel_) cancel_();
}

bool FollowerStop::stopped() const {
  MutexLock lock(&mutex_);
  return stopped_;
}

// One stream to the leader.
class FollowerSession {
 public:
  FollowerSession(const FollowerOptions& options, FollowerHost* host, FollowerStop* stop,
                  std::shared_ptr<grpc::Channel> channel)
      : options_(options), host_(host), stop_(stop), stub_(v1::Group::NewStub(std::move(channel))) {
    MutexLock lock(&stop_->mutex_);
    stop_->cancel_ = [this] { context_.TryCancel(); };
    if (stop_->stopped_) context_.TryCancel();
  }

  ~FollowerSession() {
    MutexLock lock(&stop_->mutex_);
    stop_->cancel_ = nullptr;
  }

  // Whether the leader has taken this process in: only before that is it worth another try.
  bool joined() const { return joined_; }

  absl::Status Run() {
    stream_ = stub_->Join(&context_);
    v1::FollowerMessage message;
    v1::FollowerMessage::Hello* hello = message.mutable_hello();
    hello->set_rank(static_cast<uint32_t>(options_.rank));
    hello->set_world_size(static_cast<uint32_t>(options_.world_size));
    hello->set_fingerprint(options_.fingerprint);
    for (const uint16_t port : options_.peer_ports) hello->add_peer_ports(port);
    Write(message);
    {
      SilenceWatch watch(options_.patience, [this](milliseconds silent) {
        End(absl::AbortedError(
            Concat("the leader gave no sign of life for ", silent.count(), " ms")));
      });
      v1::FollowerMessage alive;
      alive.mutable_alive();
      SignsOfLife signs(options_.patience.sign_interval, [&] { return Write(alive); });
      std::thread reader([&] { Read(&watch); });
      Obey();
      reader.join();
    }
    MutexLock lock(&mutex_);
    return ended_;
  }

 private:
  bool Write(const v1::FollowerMessage& message) {
    MutexLock lock(&write_mutex_);
    return open_ && stream_->Write(message);
  }

  void Read(SilenceWatch* watch) {
    v1::Command command;
    while (stream_->Read(&command)) {
      watch->Heard();
      joined_ = true;
      if (command.has_ping()) continue;
      MutexLock lock(&mutex_);
      command_ = std::move(command);
      changed_.NotifyAll();
    }
    grpc::Status status;
    {
      MutexLock lock(&write_mutex_);
      open_ = false;
      status = stream_->Finish();
    }
    if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION) {
      return End(absl::AbortedError("the leader closed the connection"));
    }
    End(absl::FailedPreconditionError(
        Concat("the leader ", options_.leader, " refuses: ", status.error_message())));
  }

  // The first cause stays.
  void End(absl::Status why) {
    {
      MutexLock lock(&mutex_);
      if (!ended_.ok()) return;
      ended_ = leaving_.ok() ? std::move(why) : leaving_;
      changed_.NotifyAll();
    }
    context_.TryCancel();
    host_->Abort();
  }

  void Obey() {
    for (;;) {
      v1::Command command;
      {
        MutexLock lock(&mutex_);
        while (ended_.ok() && !command_.has_value()) changed_.Wait(&mutex_);
        if (!ended_.ok()) return;
        command = *std::move(command_);
        command_.reset();
      }
      absl::StatusOr<v1::Result> result = Do(command);
      v1::FollowerMessage message;
      *message.mutable_result() = result.ok() ? *std::move(result) : ToProto(result.status());
      Write(message);
      if (!result.ok() && IsDeviceLost(result.status())) return Leave(result.status());
    }
  }

  // Says no more, so that the leader closes the connection once it has heard why.
  void Leave(const absl::Status& why) {
    LogError("this rank's device is lost", {{"error", why.ToString()}});
    {
      MutexLock lock(&mutex_);
      leaving_ = why;
    }
    MutexLock lock(&write_mutex_);
    if (open_) stream_->WritesDone();
    open_ = false;
  }

  absl::StatusOr<v1::Result> Do(const v1::Command& command) {
    if (command.has_start()) {
      PINGTI_ASSIGN_OR_RETURN(model_, host_->Start(command.start()));
      return Describe(*model_, {}, host_->device());
    }
    if (model_ == nullptr) return absl::FailedPreconditionError("expected Start first");
    switch (command.command_case()) {
      case v1::Command::kDescribe:
        return Describe(*model_, command.describe(), host_->device());
      case v1::Command::kAllocate:
        return Allocate(command.allocate());
      case v1::Command::kPlanMemory:
        return PlanMemory();
      case v1::Command::kForward: {
        PINGTI_ASSIGN_OR_RETURN(const ForwardArguments step, FromProto(command.forward()));
        PINGTI_RETURN_IF_ERROR(model_->Forward(step.batch, step.copies));
        return v1::Result();
      }
      case v1::Command::kExportBlocks:
        return Export(model_, command.export_blocks());
      case v1::Command::kImportBlocks: {
        const v1::Command::ImportBlocks& import = command.import_blocks();
        PINGTI_RETURN_IF_ERROR(model_->ImportBlocks(
            {import.blocks().data(), static_cast<size_t>(import.blocks_size())},
            std::as_bytes(std::span(import.data()))));
        return v1::Result();
      }
      default:
        return absl::UnimplementedError("a command that this version does not know");
    }
  }

  absl::StatusOr<v1::Result> PlanMemory() {
    PINGTI_ASSIGN_OR_RETURN(const RemoteMemory memory, host_->PlanMemory());
    v1::Result result;
    result.mutable_memory_plan()->set_num_blocks(memory.num_blocks);
    result.mutable_memory_plan()->set_max_context_tokens(memory.max_context_tokens);
    result.mutable_memory_plan()->set_arithmetic(memory.arithmetic);
    return result;
  }

  absl::StatusOr<v1::Result> Allocate(const v1::Command::Allocate& command) {
    PINGTI_RETURN_IF_ERROR(model_->Allocate(command.num_blocks(), command.kv_block_tokens(),
                                            command.max_batch_tokens(), command.max_batch_size()));
    v1::Result result;
    ToProto(model_->kv_block_layout(), result.mutable_layout());
    return result;
  }

  const FollowerOptions& options_;
  FollowerHost* const host_;
  FollowerStop* const stop_;
  const std::unique_ptr<v1::Group::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<LeaderStream> stream_;
  std::atomic<bool> joined_{false};
  Model* model_ = nullptr;
  Mutex write_mutex_;
  bool open_ PINGTI_GUARDED_BY(write_mutex_) = true;
  Mutex mutex_;
  CondVar changed_;
  std::optional<v1::Command> command_ PINGTI_GUARDED_BY(mutex_);
  absl::Status leaving_ PINGTI_GUARDED_BY(mutex_);
  absl::Status ended_ PINGTI_GUARDED_BY(mutex_);
};

absl::Status RunFollower(const FollowerOptions& options, FollowerHost* host, FollowerStop* stop) {
  const SteadyClock::time_point deadline = SteadyClock::now() + options.join_timeout;
  absl::Status status;
  while (!stop->stopped()) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
    arguments.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
    const auto channel =
        grpc::CreateCustomChannel(options.leader, grpc::InsecureChannelCredentials(), arguments);
    const auto soon = std::min(deadline, SteadyClock::now() + milliseconds(2'000));
    const auto wall = std::chrono::system_clock::now() + (soon - SteadyClock::now());
    if (channel->WaitForConnected(wall)) {
      FollowerSession session(options, host, stop, channel);
      status = session.Run();
      if (session.joined() || absl::IsFailedPrecondition(status)) break;
    }
    if (SteadyClock::now() >= deadline) {
      return absl::UnavailableError(Concat("rank ", options.rank, " found no leader at ",
                                           options.leader, " within ", options.join_timeout.count(),
                                           " ms"));
    }
    std::this_thread::sleep_for(kRetryPause);
  }
  return stop->stopped() ? absl::OkStatus() : status;
}

}  // namespace pingti::worker
