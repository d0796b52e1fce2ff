// What a router's message becomes in the engine.
#include "worker/server/convert.h"

#include <gtest/gtest.h>

#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::worker {
namespace {

TEST(FromProto, EveryWayOfEndingABeamSearchIsKept) {
  for (const bool early : {false, true}) {
    for (const bool never : {false, true}) {
      v1::Sequence message;
      message.mutable_sampling()->set_n(2);
      v1::BeamParams* beam = message.mutable_sampling()->mutable_beam();
      beam->set_num_beams(4);
      beam->set_length_penalty(0.5f);
      beam->set_early_stopping(early);
      beam->set_never_stop_early(never);
      const SamplingParameters sampling = FromProto(message, TimePoint()).sampling;
      EXPECT_EQ(sampling.n, 2);
      EXPECT_EQ(sampling.beam.num_beams, 4);
      EXPECT_EQ(sampling.beam.length_penalty, 0.5f);
      EXPECT_EQ(sampling.beam.early_stopping, never   ? EarlyStopping::kNever
                                              : early ? EarlyStopping::kTrue
                                                      : EarlyStopping::kFalse);
    }
  }
}

TEST(FromProto, OneBeamIsNoSearch) {
  v1::Sequence message;
  message.mutable_sampling()->mutable_beam()->set_num_beams(1);
  message.mutable_sampling()->mutable_beam()->set_length_penalty(3);
  EXPECT_FALSE(FromProto(message, TimePoint()).sampling.is_beam_search());
}

}  // namespace
}  // namespace pingti::worker
