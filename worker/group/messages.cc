#include "worker/group/messages.h"

#include <utility>

#include "common/base/strings.h"

namespace pingti::worker {
namespace {

using Int32s = google::protobuf::RepeatedField<int32_t>;

void Assign(std::span<const int32_t> values, Int32s* out) {
  out->Assign(values.begin(), values.end());
}

std::span<const int32_t> View(const Int32s& values) {
  return {values.data(), static_cast<size_t>(values.size())};
}

}  // namespace

void ToProto(const ForwardBatch& batch, std::span<const BlockCopy> copies,
             v1::Command::Forward* out) {
  Assign(batch.token_ids, out->mutable_token_ids());
  Assign(batch.positions, out->mutable_positions());
  Assign(batch.query_start, out->mutable_query_start());
  Assign(batch.context_len, out->mutable_context_len());
  Assign(batch.block_table, out->mutable_block_table());
  out->set_max_blocks_per_seq(batch.max_blocks_per_seq);
  Assign(batch.logit_tokens, out->mutable_logit_tokens());
  out->set_highest_only(batch.highest_only);
  for (const BlockCopy& copy : copies) {
    out->add_copies(copy.from);
    out->add_copies(copy.to);
  }
}

absl::StatusOr<ForwardArguments> FromProto(const v1::Command::Forward& in) {
  ForwardArguments out;
  out.batch = {.token_ids = View(in.token_ids()),
               .positions = View(in.positions()),
               .query_start = View(in.query_start()),
               .context_len = View(in.context_len()),
               .block_table = View(in.block_table()),
               .max_blocks_per_seq = in.max_blocks_per_seq(),
               .logit_tokens = View(in.logit_tokens()),
               .highest_only = in.highest_only()};
  const ForwardBatch& batch = out.batch;
  const auto table = static_cast<int64_t>(batch.num_seqs()) * batch.max_blocks_per_seq;
  if (batch.query_start.size() != batch.context_len.size() + 1 ||
      batch.positions.size() != batch.token_ids.size() ||
      static_cast<int64_t>(batch.block_table.size()) != table || in.copies_size() % 2 != 0) {
    return absl::InvalidArgumentError(
        Concat("a step of ", batch.num_seqs(), " sequences with ", batch.query_start.size(),
               " starts, ", batch.token_ids.size(), " tokens, ", batch.positions.size(),
               " positions, ", batch.block_table.size(), " blocks and ", in.copies_size(),
               " ends of copies: the sizes do not fit each other"));
  }
  for (int i = 0; i < in.copies_size(); i += 2) {
    out.copies.push_back({in.copies(i), in.copies(i + 1)});
  }
  return out;
}

v1::Result ToProto(const absl::Status& status) {
  v1::Result result;
  result.set_code(static_cast<int32_t>(status.code()));
  result.set_message(std::string(status.message()));
  return result;
}

absl::Status StatusOf(const v1::Result& result) {
  return absl::Status(static_cast<absl::StatusCode>(result.code()), result.message());
}

void ToProto(const KvBlockLayout& layout, v1::Result::KvLayout* out) {
  out->set_block_tokens(layout.block_tokens);
  out->set_bytes(layout.bytes);
  for (const KvPlaneLayout& plane : layout.planes) {
    v1::Result::KvLayout::Plane* to = out->add_planes();
    to->set_layer(plane.layer);
    to->set_kind(static_cast<int32_t>(plane.kind));
    to->set_is_scale(plane.is_scale);
    to->set_dtype(static_cast<int32_t>(plane.dtype));
    to->set_heads(plane.heads);
    to->set_head_dim(plane.head_dim);
    to->set_first_dim(plane.first_dim);
    to->set_offset(plane.offset);
    to->set_head_stride(plane.head_stride);
    to->set_token_stride(plane.token_stride);
    to->set_dim_stride(plane.dim_stride);
  }
}

absl::StatusOr<KvBlockLayout> FromProto(const v1::Result::KvLayout& in) {
  KvBlockLayout layout;
  layout.block_tokens = in.block_tokens();
  layout.bytes = in.bytes();
  for (const v1::Result::KvLayout::Plane& plane : in.planes()) {
    if (plane.kind() < 0 || plane.kind() > static_cast<int32_t>(KvPlaneKind::kLatent) ||
        plane.dtype() < 0 || plane.dtype() > static_cast<int32_t>(DType::kQ6K)) {
      return absl::InvalidArgumentError(Concat("KV plane of kind ", plane.kind(), " and dtype ",
                                               plane.dtype(), ": this version knows no such"));
    }
    layout.planes.push_back({plane.layer(), static_cast<KvPlaneKind>(plane.kind()),
                             plane.is_scale(), static_cast<DType>(plane.dtype()), plane.heads(),
                             plane.head_dim(), plane.first_dim(), plane.offset(),
                             plane.head_stride(), plane.token_stride(), plane.dim_stride()});
  }
  return layout;
}

}  // namespace pingti::worker
