#include "worker/engine/record_steps.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/backend/backend.h"
#include "worker/model/draft_head.h"

namespace pingti::worker {
namespace {

constexpr int kRuns = 2;  // a shape is recorded when it comes up again

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

// Behind a step of the model, and a chain behind drafts of as many sequences: both find states in
// row 0. All sequences write into block 0.
absl::Status RunHead(DraftHead* head, const StepShape& shape) {
  std::vector<int32_t> positions, start{0}, context;
  for (const int32_t length : Lengths(shape)) {
    for (int32_t i = 0; i < length; ++i) positions.push_back(i);
    start.push_back(static_cast<int32_t>(positions.size()));
    context.push_back(length);
  }
  const std::vector<int32_t> zeros(positions.size(), 0);
  const int32_t width = (shape.query_len + head->block_tokens() - 1) / head->block_tokens();
  const std::vector<int32_t> table(context.size() * static_cast<size_t>(width), 0);
  const bool is_chain = shape.work == StepWork::kHeadChain;
  PINGTI_RETURN_IF_ERROR(
      head->Forward({zeros, positions, start, context, table, width, zeros, is_chain}));
  std::vector<SamplingRow> sampling(context.size());
  for (SamplingRow& row : sampling) row.temperature = 0.0f;
  std::vector<SampledToken> sampled(context.size());
  return head->Sample(sampling, sampled);
}

// The number of shapes.
absl::StatusOr<size_t> RecordHead(Model* model, int32_t max_drafts, int32_t kv_block_tokens) {
  DraftHead* const head = model->draft_head();
  if (head == nullptr) return 0;
  const std::vector<StepShape> shapes = head->RecordedBatches(1 + max_drafts);
  if (shapes.empty()) return 0;
  PINGTI_RETURN_IF_ERROR(RunStep(model, {1, 1, 1}, kv_block_tokens));
  for (const StepShape& shape : shapes) {
    for (int run = 0; run < kRuns; ++run) PINGTI_RETURN_IF_ERROR(RunHead(head, shape));
  }
  return shapes.size();
}

}  // namespace

absl::Status RecordDraftSteps(Model* model, int32_t max_rows, int32_t max_drafts,
                              int32_t kv_block_tokens) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<StepShape> shapes = model->RecordedSteps(max_rows, 1 + max_drafts);
  for (const StepShape& shape : shapes) {
    for (int run = 0; run < kRuns; ++run) {
      PINGTI_RETURN_IF_ERROR(RunStep(model, shape, kv_block_tokens));
    }
  }
  PINGTI_ASSIGN_OR_RETURN(const size_t num_of_head, RecordHead(model, max_drafts, kv_block_tokens));
  if (shapes.size() + num_of_head == 0) return absl::OkStatus();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  LogInfo("steps with drafts are recorded",
          {{"shapes", shapes.size()}, {"head_shapes", num_of_head}, {"seconds", seconds.count()}});
  return absl::OkStatus();
}

}  // namespace pingti::worker
