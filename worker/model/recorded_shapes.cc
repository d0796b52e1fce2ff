#include "worker/model/recorded_shapes.h"

#include <algorithm>

namespace pingti::worker {

RecordedShapes::RecordedShapes(const Backend* backend)
    : record_of_([backend](const StepShape& shape) {
        const StepShape padded = backend->Padded(shape);
        return backend->Records(padded) ? std::optional(padded) : std::nullopt;
      }) {}

void RecordedShapes::Add(const ShapeRange& range, StepShape kind) {
  const bool may_be_uniform = kind.uniform;
  for (int32_t seqs = 1; seqs <= std::min(range.max_seqs, range.max_tokens); ++seqs) {
    for (int32_t len = range.min_query_len; len <= range.max_query_len; ++len) {
      const int32_t most_tokens = std::min(seqs * len, range.max_tokens);
      for (int32_t tokens = seqs + len - 1; tokens <= most_tokens; ++tokens) {
        kind.num_seqs = seqs;
        kind.query_len = len;
        kind.num_tokens = tokens;
        kind.uniform = may_be_uniform && tokens == seqs * len;
        const std::optional<StepShape> record = record_of_(kind);
        if (record.has_value()) examples_.try_emplace(*record, kind);
      }
    }
  }
}

std::vector<StepShape> RecordedShapes::Examples() const {
  std::vector<StepShape> examples;
  for (const auto& [record, example] : examples_) examples.push_back(example);
  return examples;
}

}  // namespace pingti::worker
