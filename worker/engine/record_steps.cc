#include "worker/engine/record_steps.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/backend/backend.h"

namespace pingti::worker {
namespace {

// The tokens of each sequence in a step of the shape: the first has the most.
std::vector<int32_t> Lengths(const StepShape& shape) {
  std::vector<int32_t> lengths(static_cast<size_t>(shape.num_seqs), 1);
  int32_t left = shape.num_tokens - shape.num_seqs;
  for (int32_t& length : lengths) {
    const int32_t more = std::min(left, shape.query_len - 1);
    length += more;
    left -= more;
  }
  return lengths;
}

// All sequences write into block 0.
absl::Status RunStep(Model* model, const StepShape& shape, int32_t kv_block_tokens) {
  std::vector<int32_t> positions, start{0}, context, rows;
  for (const int32_t length : Lengths(shape)) {
    for (int32_t i = 0; i < length; ++i) {
      rows.push_back(static_cast<int32_t>(positions.size()));
      positions.push_back(i);
    }
    start.push_back(static_cast<int32_t>(positions.size()));
    context.push_back(length);
  }
  const std::vector<int32_t> ids(positions.size(), 0);
  const int32_t width = (shape.query_len + kv_block_tokens - 1) / kv_block_tokens;
  const std::vector<int32_t> table(context.size() * static_cast<size_t>(width), 0);
  PINGTI_RETURN_IF_ERROR(
      model->Forward({ids, positions, start, context, table, width, rows, shape.highest_only}, {}));
  std::vector<SamplingRow> sampling(rows.size());
  for (SamplingRow& row : sampling) row.temperature = 0.0f;
  std::vector<SampledToken> sampled(rows.size());
  return model->Sample(sampling, sampled);
}

}  // namespace

absl::Status RecordDraftSteps(Model* model, int32_t max_rows, int32_t max_drafts,
                              int32_t kv_block_tokens) {
  constexpr int kRuns = 2;  // a shape is recorded when it comes up again
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<StepShape> shapes = model->RecordedSteps(max_rows, 1 + max_drafts);
  for (const StepShape& shape : shapes) {
    for (int run = 0; run < kRuns; ++run) {
      PINGTI_RETURN_IF_ERROR(RunStep(model, shape, kv_block_tokens));
    }
  }
  if (shapes.empty()) return absl::OkStatus();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  LogInfo("steps with drafts are recorded",
          {{"shapes", shapes.size()}, {"seconds", seconds.count()}});
  return absl::OkStatus();
}

}  // namespace pingti::worker
