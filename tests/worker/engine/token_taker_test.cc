// What becomes of drawn tokens: with drafts, exhaustively over how many were proposed, computed and
// right.
#include "worker/engine/token_taker.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/worker/engine/group_testing.h"

namespace pingti::worker {
namespace {

struct TakerHarness : PartsHarness {
  using PartsHarness::PartsHarness;

  // Computes the prompt and takes `token` behind it.
  void Begin(RequestGroup* group, int32_t token) {
    Plan();
    Take(group, {token});
  }
  void Take(RequestGroup* group, const std::vector<int32_t>& tokens) {
    for (const PlannedChunk& chunk : plan.chunks) {
      if (chunk.sequence->group != group) continue;
      std::vector<SampledToken> drawn(tokens.size());
      for (size_t i = 0; i < tokens.size(); ++i) drawn[i].token_id = tokens[i];
      taker.Take(chunk, drawn, std::vector<absl::Status>(tokens.size()));
    }
  }
  void Propose(RequestGroup* group, const std::vector<int32_t>& drafts) {
    Sequence& sequence = group->samples[0]->sequence;
    sequence.tokens.insert(sequence.tokens.end(), drafts.begin(), drafts.end());
    sequence.num_draft = static_cast<int32_t>(drafts.size());
  }

  TokenTaker taker{&scheduler, &outputs, &finisher, &stats, kVocab};
};

TEST(TokenTaker, KeepsDraftsAsLongAsTheyAreWhatWasDrawn) {
  // The model goes on with 20, 21, 22, ... ; drafts are right up to a place.
  for (int32_t proposed = 0; proposed <= 6; ++proposed) {
    for (int32_t right = 0; right <= proposed; ++right) {
      for (int32_t room = 0; room <= proposed; ++room) {
        SCOPED_TRACE(::testing::Message()
                     << proposed << " drafts, " << right << " right, room for " << room);
        TakerHarness h({1 + room + 4, 1, 1 + room});
        RequestGroup* group = h.Add(MakeRequest(1, {5, 6, 7}, 100));
        Sequence& sequence = group->samples[0]->sequence;
        h.Begin(group, 19);
        std::vector<int32_t> drafts;
        for (int32_t i = 0; i < proposed; ++i) drafts.push_back(i < right ? 20 + i : 50);
        h.Propose(group, drafts);
        h.Plan();
        ASSERT_EQ(h.plan.chunks.size(), 1u);
        ASSERT_EQ(h.plan.chunks[0].num_tokens, 1 + std::min(room, proposed));
        std::vector<int32_t> drawn;
        for (int32_t i = 0; i < h.plan.chunks[0].num_tokens; ++i) drawn.push_back(20 + i);
        h.Take(group, drawn);
        const int32_t taken = std::min(right, std::min(room, proposed)) + 1;
        std::vector<int32_t> want = {5, 6, 7, 19};
        for (int32_t i = 0; i < taken; ++i) want.push_back(20 + i);
        EXPECT_EQ(sequence.tokens, want);
        EXPECT_EQ(sequence.num_draft, 0);
        EXPECT_EQ(sequence.pending(), 1);
        EXPECT_EQ(group->samples[0]->num_output, 1 + taken);
        EXPECT_EQ(h.Publish(1).tokens, std::vector<int32_t>(want.begin() + 3, want.end()));
        EXPECT_TRUE(h.scheduler.CheckInvariants().ok()) << h.scheduler.CheckInvariants();
      }
    }
  }
}

TEST(TokenTaker, NothingIsTakenBehindAnEnding) {
  TakerHarness h;
  RequestGroup* group = h.Add(MakeRequest(1, {5, 6, 7}, 100));
  h.Begin(group, 19);
  h.Propose(group, {20, kEos, 21, 22});
  h.Plan();
  h.Take(group, {20, kEos, 21, 22, 23});
  const Collected& got = h.Publish(1);
  EXPECT_EQ(got.tokens, (std::vector<int32_t>{19, 20, kEos}));
  ASSERT_TRUE(got.finish.has_value());
  EXPECT_EQ(got.finish->reason, FinishReason::kStopToken);
  EXPECT_EQ(got.finish->usage.output_tokens, 3);
  EXPECT_EQ(group->OutputOf(*group->samples[0]).size(), 3u) << "no draft is left in the output";
  EXPECT_TRUE(group->done);
  EXPECT_EQ(h.cache.pool().leased(), 0);
}

TEST(TokenTaker, AnAnswersLengthCountsAlsoWithinDrafts) {
  TakerHarness h;
  RequestGroup* group = h.Add(MakeRequest(1, {5, 6, 7}, 3));
  h.Begin(group, 19);
  h.Propose(group, {20, 21});
  h.Plan();
  h.Take(group, {20, 21, 22});
  EXPECT_EQ(h.Publish(1).tokens, (std::vector<int32_t>{19, 20, 21}));
  EXPECT_EQ(h.Publish(1).finish->reason, FinishReason::kMaxTokens);
}

TEST(TokenTaker, ATokenThatCannotBeEndsTheSampleWithAnError) {
  for (const int32_t token : {-1, 64}) {
    TakerHarness h;
    RequestGroup* group = h.Add(MakeRequest(1, {5, 6, 7}, 100));
    h.Begin(group, 19);
    h.Propose(group, {20, 21});
    h.Plan();
    h.Take(group, {20, token, 22});
    const Collected& got = h.Publish(1);
    EXPECT_EQ(got.tokens, (std::vector<int32_t>{19, 20}));
    ASSERT_TRUE(got.finish.has_value());
    EXPECT_EQ(got.finish->reason, FinishReason::kError);
    EXPECT_NE(got.finish->status.message().find(std::to_string(token)), absl::string_view::npos);
    EXPECT_EQ(group->OutputOf(*group->samples[0]).size(), 2u) << "no draft is left in the output";
    EXPECT_EQ(h.cache.pool().leased(), 0);
  }
}

// What is said of a row of a request's in which no token had a finite logit.
absl::Status NotFinite(const Request& request) {
  TakerHarness h;
  RequestGroup* group = h.Add(request);
  group->samples[0]->sequence.num_computed = 12;
  SampledToken token;
  token.logits_not_finite = true;
  return CheckDrawn(token, *group->samples[0], 64);
}

TEST(TokenTaker, LogitsThatAreNotFiniteAreNamedWithTheirPosition) {
  const absl::Status status = NotFinite(MakeRequest(1, {5, 6, 7}, 100));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("the model's logits at position 12"), absl::string_view::npos);
}

TEST(TokenTaker, WhatARequestLeavesIsNamedWhereNoneOfItHasAFiniteLogit) {
  Request request = MakeRequest(1, {5, 6, 7}, 100);
  request.sampling.allowed_token_ids = {3};
  const absl::Status status = NotFinite(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("allowed_token_ids"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace pingti::worker
