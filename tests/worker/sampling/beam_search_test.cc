// Beam search against transformers' generate on small table models (tests/golden/beam).
#include "worker/sampling/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
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

std::vector<TopLogprob> TopOf(const Case& c, int32_t last, int position, int32_t count) {
  const std::vector<float>& logits = c.table[(position % 2) * c.vocab + last];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  std::vector<TopLogprob> top;
  for (int32_t t = 0; t < c.vocab; ++t) {
    top.push_back({t, logits[t] - static_cast<float>(std::log(sum))});
  }
  std::stable_sort(top.begin(), top.end(),
                   [](const auto& a, const auto& b) { return a.logprob > b.logprob; });
  top.resize(std::min<size_t>(top.size(), static_cast<size_t>(count)));
  return top;
}

std::vector<std::vector<int32_t>> Search(const Case& c) {
  BeamSearch search({c.num_beams, c.length_penalty, c.early_stopping}, c.eos, c.max_new);
  std::vector<std::vector<int32_t>> outputs = {{}};
  while (true) {
    const int length = static_cast<int>(outputs[0].size());
    const bool suppress = length < c.min_new;
    std::vector<std::vector<TopLogprob>> tops;
    for (const auto& output : outputs) {
      tops.push_back(TopOf(c, output.empty() ? c.prompt : output.back(), length,
                           search.candidates_per_beam(suppress)));
    }
    const std::vector<std::span<const TopLogprob>> candidates(tops.begin(), tops.end());
    const std::vector<std::span<const int32_t>> spans(outputs.begin(), outputs.end());
    if (!search.Advance(candidates, spans, suppress)) break;
    std::vector<std::vector<int32_t>> next;
    for (const BeamSearch::Beam& beam : search.beams()) {
      next.push_back(outputs[beam.parent]);
      next.back().push_back(beam.token);
    }
    outputs = std::move(next);
  }
  std::vector<std::vector<int32_t>> result;
  for (const FinishedBeam& beam : search.finished()) result.push_back(beam.output);
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
  BeamSearch search({2, 1.0f}, {1}, 1);
  const auto top = TopOf(c, c.prompt, 0, search.candidates_per_beam(false));
  const std::span<const TopLogprob> candidates[] = {top};
  const std::span<const int32_t> outputs[] = {{}};
  EXPECT_FALSE(search.Advance(candidates, outputs, false));
  ASSERT_EQ(search.finished().size(), 2u);
  EXPECT_GE(search.finished()[0].score, search.finished()[1].score);
  for (const FinishedBeam& beam : search.finished()) {
    EXPECT_EQ(beam.stop_token_id, beam.output.back() == 1 ? 1 : -1);
  }
}

TEST(BeamSearch, OfEqualAnswersTheOneThatRankedFirstStaysFirst) {
  BeamSearch search({3, 1.0f}, {1}, 1);
  const std::vector<TopLogprob> top = {{5, -1}, {6, -1}, {7, -1}, {8, -1}, {9, -1}, {10, -1}};
  const std::span<const TopLogprob> candidates[] = {top};
  const std::span<const int32_t> outputs[] = {{}};
  EXPECT_FALSE(search.Advance(candidates, outputs, false));
  ASSERT_EQ(search.finished().size(), 3u);
  for (int32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(search.finished()[static_cast<size_t>(i)].output, std::vector<int32_t>{5 + i});
  }
}

}  // namespace
}  // namespace pingti::worker
