// Model's arguments and results as messages between a group's processes. Batches are read in place:
// what FromProto returns points into the message.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/pingti/worker/v1/group.pb.h"
#include "worker/model/model.h"

namespace pingti::worker {

void ToProto(const ForwardBatch& batch, std::span<const BlockCopy> copies,
             v1::Command::Forward* out);
struct ForwardArguments {
  ForwardBatch batch;
  std::vector<BlockCopy> copies;
};
// Errors: InvalidArgument where the arrays' sizes do not fit each other.
absl::StatusOr<ForwardArguments> FromProto(const v1::Command::Forward& in);

v1::Result ToProto(const absl::Status& status);
absl::Status StatusOf(const v1::Result& result);

void ToProto(const KvBlockLayout& layout, v1::Result::KvLayout* out);
// Errors: InvalidArgument for a kind or dtype that does not exist.
absl::StatusOr<KvBlockLayout> FromProto(const v1::Result::KvLayout& in);

}  // namespace pingti::worker
