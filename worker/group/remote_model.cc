#include "worker/group/remote_model.h"

#include <cstring>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/group/messages.h"

namespace pingti::worker {
namespace {

absl::Status DrawsNothing() {
  return absl::InternalError("a follower's share of a model draws no tokens");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteModel>> RemoteModel::Load(FollowerLink* link,
                                                               const v1::Command::Start& start) {
  v1::Command command;
  *command.mutable_start() = start;
  PINGTI_ASSIGN_OR_RETURN(const v1::Result result, link->Call(command));
  const v1::Result::Description& facts = result.description();
  std::unique_ptr<RemoteModel> model(new RemoteModel(link));
  model->vocab_size_ = facts.vocab_size();
  model->max_context_ = facts.max_context_tokens();
  model->hidden_size_ = facts.hidden_size();
  model->device_ = facts.device();
  return model;
}

absl::StatusOr<RemoteMemory> RemoteModel::PlanMemory() {
  v1::Command command;
  command.mutable_plan_memory();
  PINGTI_ASSIGN_OR_RETURN(const v1::Result result, link_->Call(command));
  const v1::Result::MemoryPlan& plan = result.memory_plan();
  return RemoteMemory{plan.num_blocks(), plan.max_context_tokens(), plan.arithmetic()};
}

int64_t RemoteModel::KvBytesPerBlock(int32_t kv_block_tokens) const {
  v1::Command command;
  command.mutable_describe()->set_kv_block_tokens(kv_block_tokens);
  const absl::StatusOr<v1::Result> result = link_->Call(command);
  return result.ok() ? result->description().kv_bytes_per_block() : 0;
}

int64_t RemoteModel::WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const {
  v1::Command command;
  command.mutable_describe()->set_max_batch_tokens(max_batch_tokens);
  command.mutable_describe()->set_max_batch_size(max_batch_size);
  const absl::StatusOr<v1::Result> result = link_->Call(command);
  return result.ok() ? result->description().workspace_bytes() : 0;
}

absl::Status RemoteModel::Allocate(int32_t num_blocks, int32_t kv_block_tokens,
                                   int32_t max_batch_tokens, int32_t max_batch_size) {
  v1::Command command;
  v1::Command::Allocate* allocate = command.mutable_allocate();
  allocate->set_num_blocks(num_blocks);
  allocate->set_kv_block_tokens(kv_block_tokens);
  allocate->set_max_batch_tokens(max_batch_tokens);
  allocate->set_max_batch_size(max_batch_size);
  PINGTI_ASSIGN_OR_RETURN(const v1::Result result, link_->Call(command));
  PINGTI_ASSIGN_OR_RETURN(layout_, FromProto(result.layout()));
  return absl::OkStatus();
}

absl::Status RemoteModel::ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) {
  v1::Command command;
  command.mutable_export_blocks()->mutable_blocks()->Assign(blocks.begin(), blocks.end());
  PINGTI_ASSIGN_OR_RETURN(const v1::Result result, link_->Call(command));
  if (result.data().size() != out.size()) {
    return absl::InternalError(Concat("a follower sent ", result.data().size(), " bytes of ",
                                      blocks.size(), " blocks: expected ", out.size()));
  }
  if (!out.empty()) std::memcpy(out.data(), result.data().data(), out.size());
  return absl::OkStatus();
}

absl::Status RemoteModel::ImportBlocks(std::span<const int32_t> blocks,
                                       std::span<const std::byte> in) {
  v1::Command command;
  command.mutable_import_blocks()->mutable_blocks()->Assign(blocks.begin(), blocks.end());
  command.mutable_import_blocks()->set_data(in.data(), in.size());
  return link_->Call(command).status();
}

absl::Status RemoteModel::Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) {
  step_.mutable_forward()->Clear();
  ToProto(batch, copies, step_.mutable_forward());
  return link_->Call(step_).status();
}

absl::Status RemoteModel::Sample(std::span<const SamplingRow>, std::span<SampledToken>) {
  return DrawsNothing();
}

absl::Status RemoteModel::Logprobs(std::span<const LogprobRequest>, std::span<SampledToken>) {
  return DrawsNothing();
}

absl::Status RemoteModel::HiddenStates(std::span<float>) { return DrawsNothing(); }

}  // namespace pingti::worker
