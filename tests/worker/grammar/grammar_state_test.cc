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
  std::vector<uint32_t> mask(state.mask().size(), 0);
  for (const int32_t token : tokens) mask[token >> 5] |= 1u << (token & 31);
  return mask;
}

std::vector<int32_t> Allowed(const GrammarState& state) {
  std::vector<int32_t> tokens;
  for (int32_t t = 0; t < static_cast<int32_t>(state.mask().size()) * 32; ++t) {
    if ((state.mask()[t >> 5] >> (t & 31) & 1) != 0) tokens.push_back(t);
  }
  return tokens;
}

TEST(GrammarState, AllowsWhatTheGrammarAllows) {
  GrammarState state = StateOf("a[bc]?");
  ASSERT_TRUE(state.FillMask({}, {}).ok());
  EXPECT_EQ(Allowed(state), std::vector<int32_t>{Byte('a')});
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  ASSERT_TRUE(state.FillMask({}, {}).ok());
  EXPECT_EQ(Allowed(state), (std::vector<int32_t>{grammar::kTestEnd, Byte('b'), Byte('c')}));
  EXPECT_FALSE(state.ended());
  ASSERT_TRUE(state.Accept(grammar::kTestEnd).ok());
  EXPECT_TRUE(state.ended());
  ASSERT_TRUE(state.FillMask({}, {}).ok());
  EXPECT_EQ(Allowed(state), std::vector<int32_t>{grammar::kTestEnd});
}

TEST(GrammarState, PrefersButDoesNotInsist) {
  GrammarState state = StateOf("a[bc]?");
  ASSERT_TRUE(state.Replay(std::vector<int32_t>{Byte('a')}).ok());
  ASSERT_TRUE(state.FillMask({}, Only(state, {Byte('b')})).ok());
  EXPECT_EQ(Allowed(state), std::vector<int32_t>{Byte('b')});
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  ASSERT_TRUE(state.FillMask({}, Only(state, {Byte('b')})).ok());
  EXPECT_EQ(Allowed(state), std::vector<int32_t>{grammar::kTestEnd});
}

TEST(GrammarState, FailsWhenWhatIsAllowedLeavesNothing) {
  GrammarState state = StateOf("a");
  EXPECT_EQ(state.FillMask(Only(state, {Byte('z')}), {}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(state.status().ok());
}

TEST(GrammarState, ACopyGoesItsOwnWay) {
  GrammarState state = StateOf("ab|ac");
  ASSERT_TRUE(state.Accept(Byte('a')).ok());
  GrammarState copy = state;
  ASSERT_TRUE(copy.Accept(Byte('c')).ok());
  ASSERT_TRUE(state.Accept(Byte('b')).ok());
  EXPECT_FALSE(copy.Accept(Byte('b')).ok());
}

TEST(GrammarState, NamesTheTokenThatCannotBeReplayed) {
  GrammarState state = StateOf("abc");
  const absl::Status status = state.Replay(std::vector<int32_t>{Byte('a'), Byte('x')});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("generated_token_ids[1]"), std::string::npos);
}

}  // namespace
}  // namespace pingti::worker
