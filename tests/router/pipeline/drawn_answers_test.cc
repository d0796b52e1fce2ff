// Of answers that are drawn, the likeliest are returned.
#include "router/pipeline/drawn_answers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/strings.h"

namespace pingti::router {
namespace {

std::string TextOf(const std::vector<ChoiceDelta>& deltas) {
  std::string text;
  for (const ChoiceDelta& delta : deltas) text += Concat(delta.index, delta.content, " ");
  return text;
}

TEST(DrawnAnswers, EveryOrderOfMeansGivesTheBestFirst) {
  std::vector<int> ranks = {0, 1, 2, 3};
  do {
    for (size_t returned = 1; returned <= ranks.size(); ++returned) {
      DrawnAnswers held(1, ranks.size());
      std::vector<std::string> want(ranks.size());
      for (uint32_t choice = 0; choice < ranks.size(); ++choice) {
        const int rank = ranks[choice];
        // A better one has more tokens, so that the sums say the opposite of the means.
        for (int token = 0; token < 40 >> rank; ++token) {
          held.AddLogprob(choice, -1.0 - 0.25 * rank);
        }
        held.Add({.index = choice, .content = Concat("a", choice)});
        held.Add({.index = choice, .finish = FinishReason::kStop});
        want[rank] = Concat(rank, "a", choice, " ", rank, " ");
      }
      std::string text;
      for (size_t i = 0; i < returned; ++i) text += want[i];
      EXPECT_EQ(TextOf(held.TakeBest(returned)), text);
    }
  } while (std::next_permutation(ranks.begin(), ranks.end()));
}

TEST(DrawnAnswers, EachPromptsAnswersAreRankedAmongThemselves) {
  DrawnAnswers held(2, 2);
  const double means[] = {-3, -2, -1, -4};
  for (uint32_t choice = 0; choice < 4; ++choice) {
    held.AddLogprob(choice, means[choice]);
    held.Add({.index = choice, .content = Concat("c", choice)});
  }
  EXPECT_EQ(TextOf(held.TakeBest(1)), "0c1 1c2 ");
}

TEST(DrawnAnswers, OfEqualOnesTheFirstDrawnIsReturned) {
  DrawnAnswers held(1, 3);
  for (uint32_t choice = 0; choice < 3; ++choice) {
    held.AddLogprob(choice, -1);
    held.Add({.index = choice, .content = Concat("c", choice)});
    held.Add({.index = choice});  // nothing
  }
  EXPECT_EQ(TextOf(held.TakeBest(2)), "0c0 1c1 ");
}

}  // namespace
}  // namespace pingti::router
