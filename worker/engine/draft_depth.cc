#include "worker/engine/draft_depth.h"

#include <algorithm>

namespace pingti::worker {
namespace {

constexpr double kRateWeight = 0.15;  // of one draft that was checked, in its sample's rate
constexpr double kMeanWeight = 0.01;  // in that of all samples
constexpr double kLeastMean = 0.25;   // a new sample is tried where drafts are cheap
constexpr double kReturn = 0.01;      // per step, from a sample's rate towards that of all
constexpr double kClearly = 1.02;     // drafts must promise so much more than none
constexpr double kThresholds[] = {0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02};

}  // namespace

double DraftDepth::RateOf(const DraftAcceptance& acceptance) const {
  return acceptance.rate < 0.0 ? mean_rate_ : acceptance.rate;
}

void DraftDepth::Learn(DraftAcceptance* acceptance, int32_t num_proposed, int32_t num_accepted) {
  acceptance->rate = RateOf(*acceptance);
  // The drafts behind the first wrong one say nothing.
  const int32_t num_checked = std::min(num_proposed, num_accepted + 1);
  for (int32_t i = 0; i < num_checked; ++i) {
    const double stood = i < num_accepted ? 1.0 : 0.0;
    acceptance->rate += (stood - acceptance->rate) * kRateWeight;
    mean_rate_ = std::max(kLeastMean, mean_rate_ + (stood - mean_rate_) * kMeanWeight);
  }
}

void DraftDepth::Add(int32_t num_tokens, std::chrono::nanoseconds duration) {
  times_.Add(num_tokens, duration);
}

DraftDepth::Outlook DraftDepth::SetDepths(double least, int32_t num_decodes,
                                          std::span<DraftDemand> demands) const {
  Outlook outlook{num_decodes, static_cast<double>(num_decodes)};
  for (DraftDemand& demand : demands) {
    const double rate = RateOf(*demand.acceptance);
    double stands = rate;
    demand.depth = 0;
    while (demand.depth < demand.most && stands >= least) {
      ++demand.depth;
      outlook.drawn += stands;
      stands *= rate;
    }
    outlook.tokens += demand.depth;
  }
  return outlook;
}

void DraftDepth::Plan(int32_t num_decodes, int32_t max_tokens, std::span<DraftDemand> demands) {
  double best = num_decodes * kClearly / std::max(times_.At(num_decodes), 1e-9);
  double best_least = 2.0;  // no draft is so likely
  for (const double least : kThresholds) {
    const Outlook outlook = SetDepths(least, num_decodes, demands);
    if (outlook.tokens > max_tokens) break;
    const double speed = outlook.drawn / std::max(times_.At(outlook.tokens), 1e-9);
    if (outlook.tokens > num_decodes && speed > best) {
      best = speed;
      best_least = least;
    }
  }
  SetDepths(best_least, num_decodes, demands);
  if (best_least <= 1.0) {
    steps_without_ = 0;
    return;
  }
  for (DraftDemand& demand : demands) {
    double& rate = demand.acceptance->rate;
    if (rate >= 0.0) rate += (mean_rate_ - rate) * kReturn;
  }
  if (++steps_without_ < kTryEvery) return;
  steps_without_ = 0;
  // Half a step's tokens at most.
  int32_t left = std::min(max_tokens - num_decodes, std::max(1, num_decodes / 2));
  for (DraftDemand& demand : demands) {
    demand.depth = std::min({demand.most, left, 1});
    left -= demand.depth;
  }
}

}  // namespace pingti::worker
