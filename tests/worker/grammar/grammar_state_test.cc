// One sample's state: masks, what narrows them, and errors.
#include "worker/grammar/grammar_state.h"

#include <gtest/gtest.h>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::worker {
namespace {

int32_t Byte(char c) { return 1 + static_cast<uint8_t>(c); }

GrammarState StateOf(const std::string& regex) {
  return GrammarState(*grammar::CompileForTest(grammar::GrammarSource::Kind::kRegex, regex));
}

std::vector<uint32_t> Only(const GrammarState& state, std::vector<int32_t> tokens) {
  std::vector<uint32_t> mask(state.mask_words(), 0);
  for (const int32_t token : tokens) mask[token >> 5] |= 1u << (token & 31);
  return mask;
}

std::vector<int32_t> Allowed(GrammarState* state, const std::vector<uint32_t>& preferred = {}) {
  std::vector<uint32_t> mask(state->mask_words());
  EXPECT_TRUE(state->FillMask({}, preferred, grammar::kMaskWork, mask).ok());
  std::vector<int32_t> tokens;
  for (int32_t t = 0; t < static_cast<int32_t>(mask.size()) * 32; ++t) {
    if ((mask[t >> 5] >> (t & 31) & 1) != 0) tokens.push_back(t);
  }
  return tokens;
}

TEST(GrammarState, AllowsWhatTheGrammarAllows) {
  GrammarState state = StateOf("a[bc]?");
  EXPECT_EQ(Allowed(&state), std::vector<int32_t>{Byte('a')});
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  EXPECT_EQ(Allowed(&state), (std::vector<int32_t>{grammar::kTestEnd, Byte('b'), Byte('c')}));
  EXPECT_FALSE(state.ended());
  ASSERT_TRUE(state.Accept(grammar::kTestEnd).ok());
  EXPECT_TRUE(state.ended());
  EXPECT_EQ(Allowed(&state), std::vector<int32_t>{grammar::kTestEnd});
}

TEST(GrammarState, PrefersButDoesNotInsist) {
  GrammarState state = StateOf("a[bc]?");
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  EXPECT_EQ(Allowed(&state, Only(state, {Byte('b')})), std::vector<int32_t>{Byte('b')});
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  EXPECT_EQ(Allowed(&state, Only(state, {Byte('b')})), std::vector<int32_t>{grammar::kTestEnd});
}

TEST(GrammarState, FailsWhenWhatIsAllowedLeavesNothing) {
  GrammarState state = StateOf("a");
  std::vector<uint32_t> mask(state.mask_words(), 0);
  EXPECT_EQ(state.FillMask(Only(state, {Byte('z')}), {}, grammar::kMaskWork, mask).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(mask, std::vector<uint32_t>(state.mask_words(), ~0u));
}

TEST(GrammarState, BlamesTheGrammarThatNoTokenCanContinue) {
  GrammarState state(*grammar::CompileForTest(
      grammar::GrammarSource::Kind::kRegex, "ab", {},
      std::make_shared<grammar::Vocabulary>(std::vector<std::string>{"", "a"},
                                            std::vector<int32_t>{grammar::kTestEnd}, 2)));
  ASSERT_TRUE(state.Accept(1).ok());
  std::vector<uint32_t> mask(state.mask_words());
  const absl::Status status = state.FillMask({}, {}, grammar::kMaskWork, mask);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("grammar: no token can continue"), std::string::npos) << status;
}

TEST(GrammarState, BlamesTheGrammarWhoseMaskIsTooExpensive) {
  GrammarState state(*grammar::CompileForTest(grammar::GrammarSource::Kind::kRegex,
                                              "(.{1,500}){1,500}", {}, grammar::LargeVocabulary()));
  std::vector<uint32_t> mask(state.mask_words());
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = state.FillMask({}, {}, grammar::kMaskWork, mask);
    ASSERT_TRUE(state.Accept(Byte('a')).ok());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("grammar: "), std::string::npos) << status;
  EXPECT_NE(status.message().find("too expensive"), std::string::npos) << status;
}

TEST(GrammarState, AMaskThatCostsTooMuchNowIsWorkedOutLater) {
  GrammarState state(*grammar::CompileForTest(grammar::GrammarSource::Kind::kRegex, ".{1,500}", {},
                                              grammar::LargeVocabulary()));
  std::vector<uint32_t> mask(state.mask_words());
  const int64_t before = state.work();
  EXPECT_EQ(state.FillMask({}, {}, 0, mask).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(state.work(), before);
  EXPECT_EQ(state.FillMask({}, {}, 100, mask).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(mask, std::vector<uint32_t>(state.mask_words(), ~0u));
  ASSERT_TRUE(state.FillMask({}, {}, grammar::kMaskWork, mask).ok());
  const int64_t after = state.work();
  EXPECT_GT(after, before + 100);
  EXPECT_TRUE(state.FillMask({}, {}, 0, mask).ok()) << "it is known";
  EXPECT_EQ(state.work(), after);
}

TEST(GrammarState, AReplayGoesOnWhereItsWorkEnded) {
  const std::string regex = "((a|b|ab){0,20}c){0,20}";
  std::vector<int32_t> tokens;
  for (int i = 0; i < 300; ++i) tokens.push_back(Byte("ababbac"[i % 7]));
  GrammarState whole = StateOf(regex);
  size_t next = 0;
  const absl::Status status = whole.Replay(tokens, grammar::kMaskWork, &next);
  GrammarState pieces = StateOf(regex);
  int num_pieces = 0;
  absl::Status last;
  size_t read = 0;
  while (read < next && last.ok()) {
    last = pieces.Replay(std::span(tokens).first(next), 10, &read);
    ++num_pieces;
  }
  EXPECT_TRUE(last.ok()) << last;
  EXPECT_GT(num_pieces, 5);
  EXPECT_EQ(Allowed(&pieces), Allowed(&whole));
}

TEST(GrammarState, ACopyGoesItsOwnWay) {
  GrammarState state = StateOf("ab|ac");
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  GrammarState copy = state;
  ASSERT_TRUE(copy.Accept(Byte('c')).ok());
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  EXPECT_FALSE(copy.Accept(Byte('b')).ok());
}

TEST(GrammarState, ReadsAheadAndComesBack) {
  GrammarState state = StateOf("ab?c?");
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  const std::vector<int32_t> here = Allowed(&state);
  const GrammarState::Place place = state.place();
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  EXPECT_EQ(Allowed(&state), (std::vector<int32_t>{grammar::kTestEnd, Byte('c')}));
  ASSERT_TRUE(state.Accept(grammar::kTestEnd).ok());
  state.ReturnTo(place);
  EXPECT_FALSE(state.ended());
  EXPECT_EQ(Allowed(&state), here);
  EXPECT_TRUE(state.Accept(Byte('c')).ok());
}

TEST(GrammarState, NamesTheTokenThatCannotBeReplayed) {
  GrammarState state = StateOf("abc");
  size_t next = 0;
  const absl::Status status =
      state.Replay(std::vector<int32_t>{Byte('a'), Byte('x')}, grammar::kMaskWork, &next);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("generated_token_ids[1]"), std::string::npos);
}

}  // namespace
}  // namespace pingti::worker
