#include "worker/backend/cpu/cpu_latent.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/backend/cpu/step_tokens.h"

namespace pingti::worker::cpu {
namespace {

constexpr int64_t kRowsPerTask = 32;

float* HeadRow(const HeadsView& view, int64_t head, int64_t row) {
  return static_cast<float*>(view.matrix.data) + row * view.matrix.stride + view.first +
         head * view.stride;
}

// out = x with each pair (x[2i], x[2i + 1]) rotated.
void RotatePairs(const float* x, const float* cos, const float* sin, int64_t pairs, float* out) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    out[2 * i] = a * cos[i] - b * sin[i];
    out[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

}  // namespace

absl::Status CpuLatent::EnsureScratch(int64_t bytes) {
  if (bytes <= scratch_.bytes()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(scratch_, AlignedBuffer::Make(bytes));
  return absl::OkStatus();
}

absl::Status CpuLatent::Linear(const CpuLinearWeight& weight, const HeadsView& x,
                               const HeadsView& out) {
  PINGTI_CHECK(weight.heads() > 0 && x.heads == weight.heads() && out.heads == weight.heads() &&
               x.cols == weight.in_features() && out.cols == weight.out_features() &&
               x.matrix.rows == out.matrix.rows);
  const int64_t per_thread = kRowsPerTask * weight.parts().front().padded_depth() * 4;
  PINGTI_RETURN_IF_ERROR(EnsureScratch(per_thread * pool_->num_threads()));
  const int64_t rows = x.matrix.rows;
  const int64_t blocks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  pool_->Run(blocks * weight.heads(), [&](int64_t task, int thread) {
    const int64_t head = task / blocks;
    const int64_t first = task % blocks * kRowsPerTask;
    const int64_t count = std::min(kRowsPerTask, rows - first);
    const PackedMatrix& matrix = weight.parts()[static_cast<size_t>(head)];
    const ActivationRows converted =
        Convert(matrix, x, head, first, count, scratch_.as<uint8_t>() + thread * per_thread);
    for (int64_t p = 0; p < matrix.num_panels(); ++p) {
      const int64_t column = p * kPanelCols;
      kernels_->panel_product(matrix.panel_format(), matrix.panel(p), converted, count,
                              std::min(kPanelCols, matrix.rows() - column), matrix.column_scale(p),
                              nullptr, HeadRow(out, head, first) + column, out.matrix.stride);
    }
  });
  return absl::OkStatus();
}

ActivationRows CpuLatent::Convert(const PackedMatrix& matrix, const HeadsView& x, int64_t head,
                                  int64_t first, int64_t count, uint8_t* memory) const {
  const int64_t depth = matrix.padded_depth();
  ActivationRows rows;
  rows.depth = depth;
  rows.groups = 1;
  if (matrix.format().element == ElementType::kBf16) {
    auto* const values = reinterpret_cast<uint16_t*>(memory);
    for (int64_t r = 0; r < count; ++r) {
      kernels_->float_to_bf16(HeadRow(x, head, first + r), x.cols, values + r * depth);
      std::fill(values + r * depth + x.cols, values + (r + 1) * depth, uint16_t{0});
    }
    rows.bf16 = values;
    return rows;
  }
  auto* const values = reinterpret_cast<float*>(memory);
  for (int64_t r = 0; r < count; ++r) {
    std::copy_n(HeadRow(x, head, first + r), x.cols, values + r * depth);
    std::fill(values + r * depth + x.cols, values + (r + 1) * depth, 0.0f);
  }
  rows.f32 = values;
  return rows;
}

absl::Status CpuLatent::RopeAndAppend(const StepInputs& step, const HeadsView& q, MatrixView kv,
                                      const LatentAttentionShape& shape, const float* norm_weight,
                                      float eps, CpuKvCache* cache, int64_t layer,
                                      const HeadsView& out) {
  PINGTI_CHECK(kv.cols == shape.key_dim() && q.cols == shape.rope_dim &&
               out.cols == shape.rope_dim && q.heads == shape.num_heads &&
               out.heads == shape.num_heads);
  const int64_t pairs = shape.rope_dim / 2;
  PINGTI_RETURN_IF_ERROR(EnsureScratch(kv.rows * shape.key_dim() * 4));
  ForEachToken(step, pool_, [&](int64_t seq, int64_t token) {
    const float* const cos = step.rope_cos.data() + token * pairs;
    const float* const sin = step.rope_sin.data() + token * pairs;
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      RotatePairs(HeadRow(q, h, token), cos, sin, pairs, HeadRow(out, h, token));
    }
    const float* const from = static_cast<const float*>(kv.data) + token * kv.stride;
    float* const key = scratch_.as<float>() + token * shape.key_dim();
    kernels_->rms_norm(from, norm_weight, eps, shape.latent_dim, key);
    RotatePairs(from + shape.latent_dim, cos, sin, pairs, key + shape.latent_dim);
    const CachePlace place = PlaceOf(step, seq, token, cache->shape().block_tokens);
    cache->AppendLatent(layer, place.block, place.offset, key);
  });
  return absl::OkStatus();
}

}  // namespace pingti::worker::cpu
