#include "worker/model/expert_counts.h"

#include <algorithm>
#include <numeric>

#include "common/base/status_macros.h"

namespace pingti::worker {

double ImbalanceOf(std::span<const float> counts) {
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (sum <= 0.0) return 1.0;
  const float largest = *std::max_element(counts.begin(), counts.end());
  return static_cast<double>(largest) * static_cast<double>(counts.size()) / sum;
}

ExpertCounts::ExpertCounts(DecoderBlocks* blocks) {
  for (DecoderLayer& layer : blocks->layers()) {
    if (layer.experts() != nullptr) layers_.push_back(layer.experts());
  }
}

bool ExpertCounts::HasEnough() const {
  return !layers_.empty() && std::all_of(layers_.begin(), layers_.end(), [&](MoeMlp* layer) {
    const ExpertRouting& routing = layer->routing();
    return tokens_ * routing.experts_per_token >= kLeastChoices * routing.num_experts;
  });
}

absl::StatusOr<std::optional<double>> ExpertCounts::TakeImbalance(Backend& backend) {
  if (!HasEnough()) return std::nullopt;
  double highest = 1.0;
  std::vector<float> counts;
  for (MoeMlp* layer : layers_) {
    PINGTI_RETURN_IF_ERROR(layer->TakeCounts(backend, &counts));
    highest = std::max(highest, ImbalanceOf(counts));
  }
  tokens_ = 0;
  return highest;
}

}  // namespace pingti::worker
