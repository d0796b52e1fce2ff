// Beam search against transformers' generate on small table models (tests/golden/beam).
#include "worker/sampling/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/source_dir.h"

namespace pingti::worker {
namespace {

struct Case {
  int vocab, prompt, num_beams, num_return, max_new, min_new;
  float length_penalty;
  EarlyStopping early_stopping;
  std::vector<int32_t> eos;
  std::vector<std::vector<float>> table;  // [2 * vocab][vocab]
  std::vector<std::vector<int32_t>> expected;
};

std::vector<Case> ReadCases() {
  std::ifstream file(SourcePath("tests/golden/beam/beam.txt"));
  std::string line;
  std::getline(file, line);  // versions
  std::vector<Case> cases;
  std::string word;
  while (file >> word) {
    Case c;
    int early, num_eos;
    file >> c.vocab >> c.prompt >> c.num_beams >> c.num_return >> c.length_penalty >> early >>
        c.max_new >> c.min_new >> num_eos;
    c.early_stopping = static_cast<EarlyStopping>(early);
    c.eos.resize(num_eos);
    for (int32_t& id : c.eos) file >> id;
    c.table.assign(2 * c.vocab, std::vector<float>(c.vocab));
    for (auto& row : c.table) {
      for (float& logit : row) file >> logit;
    }
    c.expected.resize(c.num_return);
    for (auto& tokens : c.expected) {
      int count;
      file >> count;
      tokens.resize(count);
      for (int32_t& id : tokens) file >> id;
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

// The `count` most likely tokens, but for the ends where these are suppressed.
BeamCandidates Candidates(const Case& c, int32_t last, int position, int32_t count) {
  const std::vector<float>& logits = c.table[(position % 2) * c.vocab + last];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  BeamCandidates candidates;
  for (int32_t t = 0; t < c.vocab; ++t) {
    const bool stops = std::find(c.eos.begin(), c.eos.end(), t) != c.eos.end();
    if (stops && position < c.min_new) continue;
    const float logprob = logits[t] - static_cast<float>(std::log(sum));
    candidates.next.push_back(
        {{t, logprob, logprob}, stops ? BeamEnd::kStopToken : BeamEnd::kNone});
  }
  std::stable_sort(candidates.next.begin(), candidates.next.end(), [](auto& a, auto& b) {
    return a.token.adjusted_logprob > b.token.adjusted_logprob;
  });
  candidates.next.resize(std::min(candidates.next.size(), static_cast<size_t>(count)));
  return candidates;
}

std::vector<int32_t> TokensOf(const BeamSearch& search, const FinishedBeam& beam) {
  std::vector<int32_t> tokens;
  for (const BeamToken& token : search.Output(beam)) tokens.push_back(token.token_id);
  return tokens;
}

std::vector<std::vector<int32_t>> Search(const Case& c) {
  BeamSearch search({c.num_beams, c.length_penalty, c.early_stopping},
                    static_cast<int32_t>(c.eos.size()), c.max_new);
  std::vector<int32_t> last = {c.prompt};
  for (int position = 0;; ++position) {
    std::vector<BeamCandidates> candidates;
    for (const int32_t token : last) {
      candidates.push_back(Candidates(c, token, position, search.candidates_per_beam()));
    }
    if (!search.Advance(candidates)) break;
    last.clear();
    for (const BeamSearch::Beam& beam : search.beams()) last.push_back(beam.token);
  }
  std::vector<std::vector<int32_t>> result;
  for (const FinishedBeam& beam : search.finished()) result.push_back(TokensOf(search, beam));
  result.resize(std::min<size_t>(result.size(), static_cast<size_t>(c.num_return)));
  return result;
}

TEST(BeamSearch, GivesWhatTransformersGives) {
  const std::vector<Case> cases = ReadCases();
  ASSERT_GE(cases.size(), 37u);
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(Search(cases[i]), cases[i].expected)
        << "case " << i << ": " << cases[i].num_beams << " beams, length penalty "
        << cases[i].length_penalty << ", early stopping "
        << static_cast<int>(cases[i].early_stopping);
  }
}

TEST(BeamSearch, FinishedBeamsComeBestFirstAndSayWhatEndedThem) {
  const Case c = ReadCases()[0];
  BeamSearch search({2, 1.0f}, 1, 1);
  BeamCandidates candidates[] = {Candidates(c, c.prompt, 0, search.candidates_per_beam())};
  EXPECT_FALSE(search.Advance(candidates));
  ASSERT_EQ(search.finished().size(), 2u);
  EXPECT_GE(search.finished()[0].score, search.finished()[1].score);
  for (const FinishedBeam& beam : search.finished()) {
    EXPECT_EQ(beam.end == BeamEnd::kStopToken, TokensOf(search, beam).back() == 1);
  }
}

// Candidates with these log-probabilities, which what they are ranked by is not: it is `more`
// higher.
BeamCandidates Given(const std::vector<std::pair<int32_t, float>>& next, float more = 0.0f) {
  BeamCandidates candidates;
  for (const auto& [token, logprob] : next) {
    candidates.next.push_back({{token, logprob, logprob + more}});
  }
  return candidates;
}

TEST(BeamSearch, OfEqualAnswersTheOneThatRankedFirstStaysFirst) {
  BeamSearch search({3, 1.0f}, 1, 1);
  BeamCandidates candidates[] = {Given({{5, -1}, {6, -1}, {7, -1}, {8, -1}, {9, -1}, {10, -1}})};
  EXPECT_FALSE(search.Advance(candidates));
  ASSERT_EQ(search.finished().size(), 3u);
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(TokensOf(search, search.finished()[static_cast<size_t>(i)]),
              std::vector<int32_t>{5 + i});
  }
}

TEST(BeamSearch, AnswersSayWhatTheModelGaveAndAreRankedByWhatWasAdjusted) {
  BeamSearch search({2, 0.0f}, 1, 2);
  BeamCandidates first[] = {Given({{5, -1}, {6, -1.25f}}, 0.5f)};
  first[0].alternatives = {{9, -0.5f}};
  ASSERT_TRUE(search.Advance(first));
  BeamCandidates second[] = {Given({{7, -3}}, -1), Given({{8, -2}}, 4)};
  second[1].alternatives = {{8, -2}, {7, -4}};
  ASSERT_FALSE(search.Advance(second));
  ASSERT_EQ(search.finished().size(), 2u);
  const FinishedBeam& best = search.finished()[0];
  EXPECT_EQ(best.cumulative_logprob, -1.25f + 0.5f - 2 + 4);
  const std::vector<BeamToken> output = search.Output(best);
  ASSERT_EQ(output.size(), 2u);
  EXPECT_EQ(output[0].token_id, 6);
  EXPECT_EQ(output[0].logprob, -1.25f);
  ASSERT_EQ(output[0].alternatives.size(), 1u);
  EXPECT_EQ(output[0].alternatives[0].token_id, 9);
  EXPECT_EQ(output[1].token_id, 8);
  EXPECT_EQ(output[1].logprob, -2);
  EXPECT_EQ(output[1].alternatives.size(), 2u);
  EXPECT_TRUE(search.Output(search.finished()[1])[1].alternatives.empty());
}

TEST(BeamSearch, ATextThatEndsABeamEndsItLikeAStopToken) {
  BeamSearch search({2, 1.0f}, 1, 9);
  BeamCandidates candidates[] = {Given({{5, -1}, {6, -2}, {7, -3}, {8, -4}})};
  candidates[0].next[0].end = BeamEnd::kStopText;
  ASSERT_TRUE(search.Advance(candidates));
  ASSERT_EQ(search.finished().size(), 1u);
  EXPECT_EQ(search.finished()[0].end, BeamEnd::kStopText);
  ASSERT_EQ(search.beams().size(), 2u);
  EXPECT_EQ(search.beams()[0].token, 6);
}

// A mask may leave fewer tokens than there are beams.
TEST(BeamSearch, GoesOnWithTheBeamsThereAreAndEndsWithNone) {
  BeamSearch search({3, 1.0f}, 1, 9);
  BeamCandidates one[] = {Given({{5, -1}})};
  ASSERT_TRUE(search.Advance(one));
  ASSERT_EQ(search.beams().size(), 1u);
  BeamCandidates two[] = {Given({{6, -1}, {1, -2}})};
  two[0].next[1].end = BeamEnd::kStopToken;
  ASSERT_TRUE(search.Advance(two));
  ASSERT_EQ(search.beams().size(), 1u);
  BeamCandidates last[] = {Given({{1, -1}})};
  last[0].next[0].end = BeamEnd::kStopToken;
  EXPECT_FALSE(search.Advance(last));
  ASSERT_EQ(search.finished().size(), 2u);
  EXPECT_EQ(TokensOf(search, search.finished()[0]), (std::vector<int32_t>{5, 6, 1}));
  EXPECT_EQ(TokensOf(search, search.finished()[1]), (std::vector<int32_t>{5, 1}));
}

}  // namespace
}  // namespace pingti::worker
