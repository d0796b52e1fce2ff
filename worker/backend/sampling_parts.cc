#include "worker/backend/sampling_parts.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "common/base/check.h"

namespace pingti::worker {
namespace {

static_assert(sizeof(PartToken) == 16 && sizeof(PartTop) == 8 && sizeof(PartSummary) == 48);

const PartSummary& SummaryOf(const float* records, const PartsLayout& layout, int part) {
  return *reinterpret_cast<const PartSummary*>(records + std::ptrdiff_t{part} * layout.cols());
}

double SumOf(float high, float low) { return static_cast<double>(high) + static_cast<double>(low); }

// Weights of tokens in a draw; the best one's is 1.
struct Weights {
  double max;
  double inverse_temperature;
  double operator()(float logit) const {
    return std::exp((static_cast<double>(logit) - max) * inverse_temperature);
  }
};

// The higher score, then the lower id.
const PartToken* Better(const PartToken* best, const PartToken* token) {
  if (best == nullptr || token->score > best->score) return token;
  return token->score == best->score && token->token_id < best->token_id ? token : best;
}

}  // namespace

bool DrawsFromParts(const SamplingRow& row) {
  return row.num_ranked == 0 && !(Draws(row) && row.top_k > kMaxPartCandidates);
}

bool MayStayUndecided(const SamplingRow& row) {
  return Draws(row) && row.top_k <= 0 && (row.top_p < 1.0f || row.min_p > 0.0f);
}

int32_t NumPartCandidates(const SamplingRow& row) {
  if (DrawsFromTopK(row)) return row.top_k;
  return MayStayUndecided(row) ? kMaxPartCandidates : 1;
}

PartsLayout LayoutOfParts(std::span<const SamplingRow> rows) {
  PartsLayout layout;
  for (const SamplingRow& row : rows) {
    layout.candidates = std::max(layout.candidates, NumPartCandidates(row));
    layout.top = std::max(layout.top, (row.num_top_logprobs + 1) / 2 * 2);
  }
  return layout;
}

size_t NumRowsAtOnce(std::span<const SamplingRow> rows, int64_t most) {
  size_t words = 0;
  size_t count = 0;
  while (count < rows.size() && static_cast<int64_t>(count) < most) {
    const SamplingRow& row = rows[count];
    words += row.token_counts.size() * sizeof(TokenCount) / sizeof(uint32_t) +
             row.logit_bias.size() * sizeof(TokenBias) / sizeof(uint32_t) + row.allowed_mask.size();
    if (count > 0 && static_cast<int64_t>(words) > kMaxPartParameterWords) break;
    ++count;
  }
  return count;
}

void PartsMerger::Open(const float* records, const PartsLayout& layout, int num_parts,
                       int32_t wanted) {
  parts_.clear();
  is_next_known_ = true;
  for (int part = 0; part < num_parts; ++part) {
    const auto* begin = reinterpret_cast<const PartToken*>(
        records + std::ptrdiff_t{part} * layout.cols() + layout.candidates_at());
    const auto* end = std::find_if(begin, begin + wanted,
                                   [](const PartToken& token) { return token.token_id < 0.0f; });
    parts_.push_back({begin, end, end - begin < wanted});
  }
}

const PartToken* PartsMerger::Next() {
  if (!is_next_known_) return nullptr;
  Part* best = nullptr;
  for (Part& part : parts_) {
    if (part.next == part.end) continue;
    // Parts are in the order of their tokens, so that of equal logits the lowest id comes first.
    if (best == nullptr || part.next->logit > best->next->logit) best = &part;
  }
  if (best == nullptr) return nullptr;
  const PartToken* token = best->next++;
  is_next_known_ = best->next != best->end || best->tells_all;
  return token;
}

const PartToken* PartsMerger::DrawFromTopK(const SamplingRow& row) {
  kept_.clear();
  while (static_cast<int32_t>(kept_.size()) < row.top_k) {
    const PartToken* token = Next();
    if (token == nullptr) break;  // there are fewer
    kept_.push_back(token);
  }
  const Weights weight{kept_[0]->logit, InverseTemperature(row)};
  double total = 0.0;
  if (row.top_p < 1.0f) {
    for (const PartToken* token : kept_) total += weight(token->logit);
  }
  const double target = static_cast<double>(row.top_p) * total;
  const PartToken* drawn = kept_[0];
  double before = 0.0;
  for (size_t i = 1; i < kept_.size(); ++i) {
    if (row.top_p < 1.0f) {
      before += weight(kept_[i - 1]->logit);
      if (before >= target) break;
    }
    if (row.min_p > 0.0f && weight(kept_[i]->logit) < static_cast<double>(row.min_p)) break;
    drawn = Better(drawn, kept_[i]);
  }
  return drawn;
}

// `drawn`: the highest score of all tokens; `target`: the weight before which top_p keeps tokens.
const PartToken* PartsMerger::DrawFromRest(const PartToken& drawn, double target,
                                           const SamplingRow& row) {
  const PartToken* token = Next();
  const Weights weight{token->logit, InverseTemperature(row)};
  const PartToken* best = nullptr;
  double before = 0.0;
  do {
    const double own = weight(token->logit);
    const bool is_kept =
        best == nullptr || ((row.top_p >= 1.0f || before < target) &&
                            (row.min_p <= 0.0f || own >= static_cast<double>(row.min_p)));
    if (!is_kept) return best;
    if (token->token_id == drawn.token_id) return token;  // no kept token's score is higher
    best = Better(best, token);
    before += own;
    token = Next();
  } while (token != nullptr);
  if (is_next_known_) return best;  // there are no more tokens
  const bool is_drawn_kept =
      row.top_p >= 1.0f && weight(drawn.logit) >= static_cast<double>(row.min_p);
  return is_drawn_kept ? &drawn : nullptr;
}

const PartToken* PartsMerger::Draw(const float* records, const PartsLayout& layout, int num_parts,
                                   const SamplingRow& row) {
  if (DrawsFromTopK(row)) return DrawFromTopK(row);
  const PartToken* drawn = nullptr;
  const PartToken* max = nullptr;
  for (int part = 0; part < num_parts; ++part) {
    const PartToken& own = SummaryOf(records, layout, part).drawn;
    if (own.token_id >= 0.0f) drawn = Better(drawn, &own);
    const PartToken* first = parts_[static_cast<size_t>(part)].next;
    if (first == parts_[static_cast<size_t>(part)].end) continue;
    if (max == nullptr || first->logit > max->logit) max = first;
  }
  if (!MayStayUndecided(row)) return drawn;
  const Weights weight{max->logit, InverseTemperature(row)};
  double total = 0.0;
  for (int part = 0; part < num_parts; ++part) {
    const PartSummary& summary = SummaryOf(records, layout, part);
    const double mass = SumOf(summary.mass_high, summary.mass_low);
    if (mass > 0.0) total += mass * weight(parts_[static_cast<size_t>(part)].next->logit);
  }
  return DrawFromRest(*drawn, static_cast<double>(row.top_p) * total, row);
}

bool PartsMerger::Merge(const float* records, const PartsLayout& layout, int num_parts,
                        const SamplingRow& row, SampledToken* token) {
  PINGTI_CHECK(DrawsFromParts(row));
  token->top.clear();
  token->ranked.clear();
  token->token_id = -1;
  token->logits_not_finite = true;  // unless there is a token to name
  Open(records, layout, num_parts, NumPartCandidates(row));
  bool is_empty = true;
  for (int part = 0; part < num_parts; ++part) {
    if (SummaryOf(records, layout, part).is_finite == 0.0f) return true;
    const Part& own = parts_[static_cast<size_t>(part)];
    is_empty = is_empty && own.next == own.end;
  }
  if (is_empty) return true;
  const PartToken* drawn = Draws(row) ? Draw(records, layout, num_parts, row) : Next();
  if (drawn == nullptr) return false;
  token->token_id = static_cast<int32_t>(drawn->token_id);
  token->logits_not_finite = false;
  if (row.num_top_logprobs >= 0) {
    FillLogprobs(records, layout, num_parts, drawn->raw, row.num_top_logprobs, token);
  }
  return true;
}

void PartsMerger::FillLogprobs(const float* records, const PartsLayout& layout, int num_parts,
                               float raw, int32_t num_top, SampledToken* token) {
  float max = -std::numeric_limits<float>::infinity();
  for (int part = 0; part < num_parts; ++part) {
    const PartSummary& summary = SummaryOf(records, layout, part);
    if (summary.raw_is_finite == 0.0f) {
      token->logits_not_finite = true;
      return;
    }
    if (summary.raw_sum_high > 0.0f) max = std::max(max, summary.raw_max);
  }
  double sum = 0.0;
  tops_.clear();
  for (int part = 0; part < num_parts; ++part) {
    const PartSummary& summary = SummaryOf(records, layout, part);
    if (summary.raw_sum_high > 0.0f) {
      sum += SumOf(summary.raw_sum_high, summary.raw_sum_low) *
             std::exp(static_cast<double>(summary.raw_max) - static_cast<double>(max));
    }
    const auto* top = reinterpret_cast<const PartTop*>(
        records + std::ptrdiff_t{part} * layout.cols() + layout.top_at());
    tops_.emplace_back(top, static_cast<size_t>(num_top));
  }
  const double log_sum = std::log(sum);
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit - max) - log_sum);
  };
  token->logprob = logprob(raw);
  while (static_cast<int32_t>(token->top.size()) < num_top) {
    std::span<const PartTop>* best = nullptr;
    for (std::span<const PartTop>& top : tops_) {
      if (top.empty() || top[0].token_id < 0.0f) continue;
      if (best == nullptr || top[0].raw > (*best)[0].raw) best = &top;
    }
    if (best == nullptr) break;  // the vocabulary has no more
    const PartTop& next = best->front();
    token->top.push_back({static_cast<int32_t>(next.token_id), logprob(next.raw)});
    *best = best->subspan(1);
  }
}

}  // namespace pingti::worker
