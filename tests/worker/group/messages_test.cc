// What goes over the wire comes back as it was; what does not fit is refused.
#include "worker/group/messages.h"

#include <gtest/gtest.h>

#include <vector>

namespace pingti::worker {
namespace {

template <typename T>
std::vector<T> Copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

TEST(GroupMessages, AStepComesBackAsItWas) {
  const std::vector<int32_t> ids = {7, 8, 9}, positions = {0, 1, 40}, start = {0, 2, 3},
                             length = {2, 41}, table = {3, -1, 4, 5}, rows = {1, 2};
  const BlockCopy copies[] = {{1, 2}, {3, 4}};
  v1::Command::Forward message;
  ToProto(ForwardBatch{ids, positions, start, length, table, 2, rows, true}, copies, &message);
  const auto step = FromProto(message);
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(Copy(step->batch.token_ids), ids);
  EXPECT_EQ(Copy(step->batch.positions), positions);
  EXPECT_EQ(Copy(step->batch.query_start), start);
  EXPECT_EQ(Copy(step->batch.context_len), length);
  EXPECT_EQ(Copy(step->batch.block_table), table);
  EXPECT_EQ(step->batch.max_blocks_per_seq, 2);
  EXPECT_EQ(Copy(step->batch.logit_tokens), rows);
  EXPECT_TRUE(step->batch.highest_only);
  ASSERT_EQ(step->copies.size(), 2u);
  EXPECT_EQ(step->copies[1].from, 3);
  EXPECT_EQ(step->copies[1].to, 4);
  message.add_copies(5);
  EXPECT_FALSE(FromProto(message).ok());
  message.mutable_copies()->RemoveLast();
  message.add_block_table(1);
  EXPECT_FALSE(FromProto(message).ok());
  message.mutable_block_table()->RemoveLast();
  message.mutable_positions()->RemoveLast();
  EXPECT_FALSE(FromProto(message).ok());
}

TEST(GroupMessages, ALayoutComesBackAsItWasAndUnknownPlanesAreRefused) {
  KvBlockLayout layout{16,
                       4096,
                       {{0, KvPlaneKind::kKey, false, DType::kBf16, 2, 64, 0, 8, 9, 10, 11},
                        {1, KvPlaneKind::kLatent, true, DType::kF32, 1, 1, 6, 2, 3, 4, 5}}};
  v1::Result::KvLayout message;
  ToProto(layout, &message);
  const auto back = FromProto(message);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, layout);
  message.mutable_planes(0)->set_dtype(99);
  EXPECT_FALSE(FromProto(message).ok());
  message.mutable_planes(0)->set_dtype(0);
  message.mutable_planes(0)->set_kind(-1);
  EXPECT_FALSE(FromProto(message).ok());
}

TEST(GroupMessages, AStatusComesBackAsItWas) {
  for (const absl::Status& status : {absl::OkStatus(), absl::DataLossError("the card is gone")}) {
    EXPECT_EQ(StatusOf(ToProto(status)), status);
  }
}

}  // namespace
}  // namespace pingti::worker
