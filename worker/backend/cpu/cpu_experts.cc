#include "worker/backend/cpu/cpu_experts.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kBlockRows = 64;  // that are gathered at a time
constexpr float kLowest = -std::numeric_limits<float>::infinity();

int64_t PaddedDepth(int64_t depth) { return (depth + kGroup - 1) / kGroup * kGroup; }

// Bytes of a gathered row: values, and what goes with quantized ones.
int64_t RowBytes(int64_t depth) { return 4 * depth + 3 * 4 * (depth / kGroup); }

// The place of the highest value, the first of equal ones.
int64_t Highest(const float* values, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i) {
    if (values[i] > values[best] || std::isnan(values[best])) best = i;
  }
  return best;
}

void ScoreExperts(const float* logits, const ExpertRouting& routing, float* scores) {
  const int64_t count = routing.num_experts;
  if (routing.score == RouterScore::kSigmoid) {
    for (int64_t e = 0; e < count; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  const float highest = *std::max_element(logits, logits + count);
  float sum = 0.0f;
  for (int64_t e = 0; e < count; ++e) sum += scores[e] = std::exp(logits[e] - highest);
  for (int64_t e = 0; e < count; ++e) scores[e] /= sum;
}

// Takes experts of all but the best groups out of the choice.
void LimitGroups(const ExpertRouting& routing, float* choice) {
  constexpr int64_t kMaxGroups = 64;
  PINGTI_CHECK(routing.num_groups <= kMaxGroups && routing.group_best <= 2);
  const int64_t size = routing.num_experts / routing.num_groups;
  float best[kMaxGroups];
  for (int64_t g = 0; g < routing.num_groups; ++g) {
    const float* group = choice + g * size;
    const int64_t first = Highest(group, size);
    best[g] = group[first];
    if (routing.group_best < 2) continue;
    float second = kLowest;
    for (int64_t i = 0; i < size; ++i) second = i == first ? second : std::max(second, group[i]);
    best[g] += second;
  }
  for (int64_t taken = 0; taken < routing.num_groups; ++taken) {
    const int64_t g = Highest(best, routing.num_groups);
    best[g] = kLowest;
    if (taken >= routing.groups_per_token) std::fill_n(choice + g * size, size, kLowest);
  }
}

}  // namespace

void ChooseExperts(const float* logits, const float* bias, const ExpertRouting& routing,
                   float* scratch, int32_t* experts, float* weights) {
  float* const scores = scratch;
  float* const choice = scratch + routing.num_experts;
  ScoreExperts(logits, routing, scores);
  for (int64_t e = 0; e < routing.num_experts; ++e) {
    choice[e] = scores[e] + (bias == nullptr ? 0.0f : bias[e]);
  }
  if (routing.num_groups > 1) LimitGroups(routing, choice);
  float sum = 0.0f;
  for (int64_t i = 0; i < routing.experts_per_token; ++i) {
    const int64_t e = Highest(choice, routing.num_experts);
    // NaN, so that what is taken is below everything that is not.
    choice[e] = std::numeric_limits<float>::quiet_NaN();
    experts[i] = static_cast<int32_t>(e);
    sum += weights[i] = scores[e];
  }
  const float factor = routing.normalize ? routing.scale / sum : routing.scale;
  for (int64_t i = 0; i < routing.experts_per_token; ++i) weights[i] *= factor;
}

int64_t CpuExperts::BytesFor(const StepLimits& limits) {
  return 16 * limits.max_tokens * limits.experts_per_token;
}

absl::Status CpuExperts::Allocate(const StepLimits& limits) {
  if (limits.num_experts == 0) return absl::OkStatus();
  max_depth_ = PaddedDepth(std::max(limits.max_in_features, limits.max_expert_inner));
  PINGTI_ASSIGN_OR_RETURN(
      gathered_, AlignedBuffer::Make(pool_->num_threads() * kBlockRows * RowBytes(max_depth_)));
  scores_.resize(static_cast<size_t>(pool_->num_threads() * 2 * limits.num_experts));
  const auto choices = static_cast<size_t>(limits.max_tokens * limits.experts_per_token);
  experts_.resize(choices);
  weights_.resize(choices);
  row_of_.resize(choices);
  token_of_.resize(choices);
  first_row_.resize(static_cast<size_t>(limits.num_experts + 1));
  chosen_.reserve(static_cast<size_t>(limits.num_experts));
  return absl::OkStatus();
}

void CpuExperts::Route(MatrixView logits, const ExpertRouting& routing, const float* bias,
                       float* counts) {
  const int64_t k = routing.experts_per_token;
  PINGTI_CHECK(logits.cols == routing.num_experts &&
               logits.rows * k <= static_cast<int64_t>(experts_.size()));
  routing_ = routing;
  num_tokens_ = logits.rows;
  constexpr int64_t kTokensPerTask = 16;
  pool_->Run((num_tokens_ + kTokensPerTask - 1) / kTokensPerTask, [&](int64_t task, int thread) {
    float* const scratch = scores_.data() + thread * 2 * routing.num_experts;
    const int64_t end = std::min(num_tokens_, (task + 1) * kTokensPerTask);
    for (int64_t t = task * kTokensPerTask; t < end; ++t) {
      const float* row = static_cast<const float*>(logits.data) + t * logits.stride;
      ChooseExperts(row, bias, routing, scratch, &experts_[static_cast<size_t>(t * k)],
                    &weights_[static_cast<size_t>(t * k)]);
    }
  });
  SortRows(counts);
}

void CpuExperts::SortRows(float* counts) {
  const auto choices = static_cast<size_t>(num_tokens_ * routing_.experts_per_token);
  const std::span first = std::span(first_row_).first(static_cast<size_t>(routing_.held() + 1));
  std::fill(first.begin(), first.end(), 0);
  const auto held = [this](size_t choice) {  // -1: not held
    const int64_t e = experts_[choice] - routing_.first_held;
    return e < routing_.held() ? std::max<int64_t>(e, -1) : -1;
  };
  for (size_t i = 0; i < choices; ++i) {
    if (const int64_t e = held(i); e >= 0) ++first[static_cast<size_t>(e) + 1];
    if (counts != nullptr) counts[experts_[i]] += 1.0f;
  }
  chosen_.clear();
  for (int32_t e = 0; e < routing_.held(); ++e) {
    if (first[static_cast<size_t>(e) + 1] > 0) chosen_.push_back(e);
  }
  std::partial_sum(first.begin(), first.end(), first.begin());
  for (size_t i = 0; i < choices; ++i) {
    row_of_[i] = -1;
    const int64_t e = held(i);
    if (e < 0) continue;
    const int32_t row = first[static_cast<size_t>(e)]++;
    row_of_[i] = row;
    token_of_[static_cast<size_t>(row)] =
        static_cast<int32_t>(static_cast<int64_t>(i) / routing_.experts_per_token);
  }
  // Each expert's first row has become the next one's.
  for (size_t e = first.size() - 1; e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
}

absl::Status CpuExperts::Linear(const CpuLinearWeight& weight, const Operand& x, RowOrder order,
                                MatrixView out, ActivationStage* stage) {
  const int64_t rows = num_tokens_ * routing_.rows_per_token();
  const MatrixView& in = x.values;
  const bool gathers = order == RowOrder::kByToken;
  PINGTI_CHECK(weight.experts() == routing_.held() && in.cols == weight.in_features() &&
               in.rows == (gathers ? num_tokens_ : rows) && out.rows == rows &&
               out.cols * weight.experts() == weight.out_features());
  const OperandType type = weight.operand_type();
  if (type.quant != QuantType::kNone && x.quantized.type != type && !stage->quantizes()) {
    return MissingFormError(type, x);
  }
  Operand used = x;
  if (!gathers) used.values.rows = num_rows();
  const MatrixFormat* read = nullptr;  // the form that `converted` has
  ActivationRows converted;
  int64_t column = 0;
  for (int64_t p = 0; p < weight.parts_per_expert(); ++p) {
    const auto part = [&](int32_t expert) -> const PackedMatrix& { return weight.part(expert, p); };
    for (auto begin = chosen_.begin(); begin != chosen_.end();) {
      const PackedMatrix& first = part(*begin);
      const auto end = std::find_if(begin, chosen_.end(), [&](int32_t expert) {
        return part(expert).panel_format() != first.panel_format();
      });
      if (read == nullptr || !ShareActivations(*read, first.format())) {
        converted = stage->Convert(used, first.padded_depth(), first.format(), *kernels_, pool_);
        read = &first.format();
      }
      RunExperts({&weight, p, column, converted, gathers, out}, {begin, end});
      begin = end;
    }
    column += part(0).rows();
  }
  return absl::OkStatus();
}

void CpuExperts::RunExperts(const Product& product, std::span<const int32_t> experts) {
  const int64_t panels = product.weight->part(experts.front(), product.part).num_panels();
  const auto count = static_cast<int64_t>(experts.size());
  // No fewer panels at a time than are worth gathering rows for.
  constexpr int64_t kLeastPanels = 4;
  const int64_t per_task =
      std::max(kLeastPanels, PanelsPerTask(panels * count, pool_->num_threads()));
  const int64_t tasks_per_expert = (panels + per_task - 1) / per_task;
  pool_->Run(count * tasks_per_expert, [&](int64_t task, int thread) {
    const int32_t expert = experts[static_cast<size_t>(task / tasks_per_expert)];
    const int64_t first = task % tasks_per_expert * per_task;
    RunPanels(product, expert, first, std::min(per_task, panels - first), thread);
  });
}

void CpuExperts::RunPanels(const Product& product, int32_t expert, int64_t first, int64_t count,
                           int thread) {
  const PackedMatrix& part = product.weight->part(expert, product.part);
  const float* const bias = product.weight->expert_bias(expert, product.column);
  const int64_t end = first_row_[static_cast<size_t>(expert) + 1];
  for (int64_t row = first_row_[static_cast<size_t>(expert)]; row < end; row += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, end - row);
    const ActivationRows block =
        product.gathers ? Gather(product.x, row, rows, thread) : RowsFrom(product.x, row);
    float* const out = static_cast<float*>(product.out.data) + row * product.out.stride;
    for (int64_t p = first; p < first + count; ++p) {
      const int64_t column = p * kPanelCols;
      kernels_->panel_product(part.panel_format(), part.panel(p), block, rows,
                              std::min(kPanelCols, part.rows() - column), part.column_scale(p),
                              bias == nullptr ? nullptr : bias + column,
                              out + product.column + column, product.out.stride);
    }
  }
}

ActivationRows CpuExperts::Gather(const ActivationRows& x, int64_t first, int64_t count,
                                  int thread) {
  const int32_t* const tokens = &token_of_[static_cast<size_t>(first)];
  if (count == 1) return RowsFrom(x, tokens[0]);
  PINGTI_CHECK(x.depth <= max_depth_);
  uint8_t* at = gathered_.as<uint8_t>() + thread * kBlockRows * RowBytes(max_depth_);
  const auto copy = [&](auto* const* source, auto** target, int64_t width) {
    using Value = std::remove_const_t<std::remove_reference_t<decltype(**source)>>;
    if (*source == nullptr) return;
    auto* const out = reinterpret_cast<Value*>(at);
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(*source + tokens[i] * width, width, out + i * width);
    }
    *target = out;
    at += count * width * static_cast<int64_t>(sizeof(Value));
  };
  ActivationRows rows = x;
  copy(&x.f32, &rows.f32, x.depth);
  copy(&x.bf16, &rows.bf16, x.depth);
  copy(&x.q, &rows.q, x.depth);
  copy(&x.scale, &rows.scale, x.groups);
  copy(&x.sum, &rows.sum, x.groups);
  copy(&x.scaled_sum, &rows.scaled_sum, x.groups);
  return rows;
}

void CpuExperts::Combine(MatrixView rows, const SharedExpert& shared, MatrixView out) {
  const int64_t k = routing_.experts_per_token;
  PINGTI_CHECK(out.rows == num_tokens_ && rows.rows == num_tokens_ * routing_.rows_per_token() &&
               rows.cols == out.cols);
  const auto row = [](const MatrixView& matrix, int64_t r) {
    return static_cast<float*>(matrix.data) + r * matrix.stride;
  };
  pool_->RunRows(out.rows, [&](int64_t t) {
    float* const sum = row(out, t);
    std::fill_n(sum, out.cols, 0.0f);
    for (int64_t i = t * k; i < (t + 1) * k; ++i) {
      if (row_of_[static_cast<size_t>(i)] < 0) continue;
      const float weight = weights_[static_cast<size_t>(i)];
      const float* const from = row(rows, row_of_[static_cast<size_t>(i)]);
      for (int64_t c = 0; c < out.cols; ++c) sum[c] += weight * from[c];
    }
    if (shared.out.data == nullptr) return;
    float weight = 1.0f;
    if (shared.gate.data != nullptr) weight = 1.0f / (1.0f + std::exp(-*row(shared.gate, t)));
    const float* const from = row(shared.out, t);
    for (int64_t c = 0; c < out.cols; ++c) sum[c] += weight * from[c];
  });
}

}  // namespace pingti::worker::cpu
