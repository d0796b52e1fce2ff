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
  EXPECT_TRUE(state->FillMask({}, preferred, mask).ok());
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
  ASSERT_TRUE(state.Replay(std::vector<int32_t>{Byte('a')}).ok());
  EXPECT_EQ(Allowed(&state, Only(state, {Byte('b')})), std::vector<int32_t>{Byte('b')});
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  EXPECT_EQ(Allowed(&state, Only(state, {Byte('b')})), std::vector<int32_t>{grammar::kTestEnd});
}

TEST(GrammarState, FailsWhenWhatIsAllowedLeavesNothing) {
  GrammarState state = StateOf("a");
  std::vector<uint32_t> mask(state.mask_words(), 0);
  EXPECT_EQ(state.FillMask(Only(state, {Byte('z')}), {}, mask).code(),
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
  const absl::Status status = state.FillMask({}, {}, mask);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("grammar: no token can continue"), std::string::npos) << status;
}

TEST(GrammarState, BlamesTheGrammarWhoseMaskIsTooExpensive) {
  GrammarState state(*grammar::CompileForTest(grammar::GrammarSource::Kind::kRegex,
                                              "(.{1,500}){1,500}", {}, grammar::LargeVocabulary()));
  std::vector<uint32_t> mask(state.mask_words());
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = state.FillMask({}, {}, mask);
    ASSERT_TRUE(state.Accept(Byte('a')).ok());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("grammar: "), std::string::npos) << status;
  EXPECT_NE(status.message().find("too expensive"), std::string::npos) << status;
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
  const absl::Status status = state.Replay(std::vector<int32_t>{Byte('a'), Byte('x')});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("generated_token_ids[1]"), std::string::npos);
}

}  // namespace
}  // namespace pingti::worker
