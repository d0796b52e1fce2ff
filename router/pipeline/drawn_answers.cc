// See drawn_answers.h.
#include "router/pipeline/drawn_answers.h"

#include <algorithm>
#include <utility>

namespace pingti::router {

void DrawnAnswers::Add(ChoiceDelta delta) {
  if (delta.empty()) return;
  std::vector<ChoiceDelta>& deltas = answers_[delta.index].deltas;
  deltas.push_back(std::move(delta));
}

void DrawnAnswers::AddLogprob(size_t choice, double logprob) {
  answers_[choice].logprob_sum += logprob;
  ++answers_[choice].num_tokens;
}

std::vector<ChoiceDelta> DrawnAnswers::TakeBest(size_t returned) {
  std::vector<ChoiceDelta> best;
  uint32_t index = 0;
  for (auto first = answers_.begin(); first != answers_.end();
       first += static_cast<ptrdiff_t>(drawn_)) {
    std::stable_sort(
        first, first + static_cast<ptrdiff_t>(drawn_),
        [](const Answer& a, const Answer& b) { return a.MeanLogprob() > b.MeanLogprob(); });
    for (size_t i = 0; i < returned; ++i, ++index) {
      for (ChoiceDelta& delta : first[static_cast<ptrdiff_t>(i)].deltas) {
        delta.index = index;
        best.push_back(std::move(delta));
      }
    }
  }
  return best;
}

}  // namespace pingti::router
